#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace lacuna {

/// A kind of GPU in the machines that it is usually rented in, as data sheets have it, for `lacuna
/// plan`.
struct GpuType {
  const char* name;
  double peak_tflops;        // bf16 products with f32 sums, dense
  int memory_gib;            // that the driver leaves
  double node_bandwidth;     // GB/s of a rank within a node, each way, that collectives reach
  double network_bandwidth;  // GB/s of a rank between nodes: its share of the network adapters
  bool has_fp8 = true;       // sm_89 or newer

  std::int64_t memory() const { return std::int64_t{memory_gib} << 30; }  // bytes
};

/// What training reaches of the peak: `lacuna plan` with it predicted the steps that were measured
/// on an H200 to 1 and 6 % (docs/multi-node.md). Of other GPUs it is assumed.
inline constexpr double kReachedShare = 400 / 989.4;

inline constexpr const char* kDefaultGpu = "h100";
std::vector<std::string> gpu_names();
/// Of one of gpu_names().
const GpuType& gpu_type(const std::string& name);

}  // namespace lacuna
