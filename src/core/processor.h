#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace lacuna {

/// What the kernel says of the first processor.
struct Processor {
  std::string model;               // "AMD EPYC 9R14"; "" when unknown
  std::vector<std::string> flags;  // "avx2", "avx512f"…, as /proc/cpuinfo names them

  bool has(const std::string& flag) const;
};
Processor read_processor(const std::filesystem::path& cpuinfo = "/proc/cpuinfo");

/// NVIDIA's driver and the GPUs that it found, as the kernel module lists them; needs no CUDA.
struct GpuDriver {
  std::string version;            // "535.104.05"; "" when there is no driver
  std::vector<std::string> gpus;  // "NVIDIA H100 80GB HBM3"
};
GpuDriver read_gpu_driver(const std::filesystem::path& folder = "/proc/driver/nvidia");

/// Where a program lies that a shell would find in the folders of `path`, as the variable PATH
/// lists them; "" when none of them has it.
std::string find_program(const std::string& name, const std::string& path);

}  // namespace lacuna
