#include "kernels/backend.h"

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cuda/cuda_ops.h"

namespace lacuna {

namespace {

/// Throws UsageError unless this build has the device, or it is the CPU.
void check_name(std::string_view device) {
#if defined(LACUNA_CUDA)
  constexpr std::string_view mine = "cuda", other = "cuda-emulated";
  constexpr const char* advice = "it is in builds without CUDA (cmake --preset cpu)";
#else
  constexpr std::string_view mine = "cuda-emulated", other = "cuda";
  constexpr const char* advice = "build with cmake --preset cuda";
#endif
  if (device == other) fail_usage(str("device \"", device, "\" is not in this build; ", advice));
  if (device != mine && device != "cpu")
    fail_usage(str("there is no device \"", device, "\"; it must be cpu, cuda or cuda-emulated"));
}

}  // namespace

std::unique_ptr<Ops> make_ops(std::string_view device, const DeviceOptions& options) {
  check_name(device);
  if (device == "cpu") return std::make_unique<CpuOps>(options.threads);
  return std::make_unique<CudaOps>(options);
}

int device_count(std::string_view device) {
  check_name(device);
  return device == "cpu" ? 1 : Device::count();
}

}  // namespace lacuna
