#include "app/gpu_type.h"

#include <array>

#include "core/check.h"

namespace lacuna {
namespace {

// NVLink: two thirds of the data sheet's rate each way, as ring collectives reach on H100s; PCIe
// 4.0 x16: 20 of 32 GB/s. Network: 400 Gb/s per GPU beside H100 and H200, 200 beside A100, and 100
// and 25 beside the others.
constexpr std::array<GpuType, 5> kTypes = {{
    {.name = "a100",
     .peak_tflops = 312,
     .memory_gib = 79,
     .node_bandwidth = 200,
     .network_bandwidth = 20,
     .has_fp8 = false},
    {.name = "h100",
     .peak_tflops = 989.4,
     .memory_gib = 79,
     .node_bandwidth = 300,
     .network_bandwidth = 40},
    {.name = "h200",
     .peak_tflops = 989.4,
     .memory_gib = 139,
     .node_bandwidth = 300,
     .network_bandwidth = 40},
    {.name = "l40s",
     .peak_tflops = 362.05,
     .memory_gib = 44,
     .node_bandwidth = 20,
     .network_bandwidth = 10},
    {.name = "rtx4090",
     .peak_tflops = 165.2,
     .memory_gib = 23,
     .node_bandwidth = 20,
     .network_bandwidth = 2.5},
}};

}  // namespace

std::vector<std::string> gpu_names() {
  std::vector<std::string> names;
  for (const GpuType& type : kTypes) names.emplace_back(type.name);
  return names;
}

const GpuType& gpu_type(const std::string& name) {
  for (const GpuType& type : kTypes)
    if (name == type.name) return type;
  fail(str("no GPU is named ", name));
}

}  // namespace lacuna
