#include "kernels/platform/pinned_memory.h"

#include <cstring>

#include "kernels/platform/emulated/counters.h"
#include "kernels/platform/emulated/device_memory.h"
#include "kernels/platform/emulated/queue.h"

namespace lacuna {

PinnedMemory::PinnedMemory(std::int64_t bytes)
    : data_(new std::byte[std::size_t(bytes)]), bytes_(bytes) {}

PinnedMemory::~PinnedMemory() { delete[] data_; }

namespace {

void enqueue_copy(CUstream_st* stream, void* to, const void* from, std::int64_t bytes) {
  ++emulator::counters.copies;
  ++emulator::counters.queued_copies;
  emulator::counters.copied_bytes += bytes;
  emulator::enqueue(stream, [=] {
    const emulator::DeviceAccess access;
    std::memcpy(to, from, std::size_t(bytes));
  });
}

}  // namespace

void copy_to_pinned(CUstream_st* stream, const char*, std::byte* to, const void* from,
                    std::int64_t bytes) {
  enqueue_copy(stream, to, from, bytes);
}

void copy_from_pinned(CUstream_st* stream, const char*, void* to, const std::byte* from,
                      std::int64_t bytes) {
  enqueue_copy(stream, to, from, bytes);
}

}  // namespace lacuna
