#include "kernels/cuda/attention.cuh"
#include "kernels/platform/hopper_intrinsics.h"

namespace lacuna {
namespace {

__global__ void probe_kernel(std::int32_t* has_code) { *has_code = kHopperCode; }

}  // namespace

bool has_hopper_code(Device& device) {
  constexpr const char* kOp = "has_hopper_code";
  std::int32_t has_code = 0;
  auto* on_device = static_cast<std::int32_t*>(device.workspace(kOp, sizeof has_code));
  launch({kOp, 1, 1, 0, device.stream()}, probe_kernel, on_device);
  device.copy(kOp, &has_code, Place::host, sizeof has_code, on_device, Place::device,
              sizeof has_code, sizeof has_code, 1);
  return has_code != 0;
}

}  // namespace lacuna
