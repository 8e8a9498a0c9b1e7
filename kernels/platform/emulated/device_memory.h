#pragma once
#include <cstddef>
#include <cstdint>

namespace lacuna::emulator {

/// Memory that plays the device's: zeroed, aligned to 256 as cudaMalloc's, its end followed by a
/// page nobody may touch (and, up to that page, by bytes AddressSanitizer watches). Only within a
/// DeviceAccess can it be read or written: host code that follows a device pointer stops with a
/// segmentation fault, as it would with a real one. Returns nullptr when there is none.
void* allocate_device_memory(std::int64_t bytes);
void release_device_memory(void* memory, std::int64_t bytes) noexcept;
/// Makes it zeros again, within a DeviceAccess, and gives whole pages back.
void clear_device_memory(void* memory, std::size_t bytes);

/// While one lives, this process may touch the device's memory.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};

}  // namespace lacuna::emulator
