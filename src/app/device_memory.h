#pragma once
#include <algorithm>
#include <cstdint>

#include "app/gpu_type.h"
#include "config/config.h"
#include "core/machine.h"

namespace lacuna {

/// Bytes that a rank's device is taken to have where nothing says so: on CPUs this machine's memory
/// among `ranks_here`, else that of kDefaultGpu.
inline std::int64_t memory_of_device(const Config& config, int ranks_here) {
  if (config.compute.device != DeviceKind::cpu) return gpu_type(kDefaultGpu).memory();
  return usable_memory() / std::max(1, ranks_here);
}

}  // namespace lacuna
