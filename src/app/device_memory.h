#pragma once
#include <algorithm>
#include <cstdint>

#include "config/config.h"
#include "core/machine.h"

namespace lacuna {

/// Of an 80 GB GPU, what the driver leaves.
inline constexpr std::int64_t kGpuMemory = std::int64_t{79} << 30;

/// Bytes that a rank's device is taken to have where nothing says so: on CPUs this machine's memory
/// among `ranks_here`, else kGpuMemory.
inline std::int64_t memory_of_device(const Config& config, int ranks_here) {
  if (config.compute.device != DeviceKind::cpu) return kGpuMemory;
  return usable_memory() / std::max(1, ranks_here);
}

}  // namespace lacuna
