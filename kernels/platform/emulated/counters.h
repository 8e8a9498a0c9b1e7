#pragma once
#include <atomic>
#include <cstdint>

namespace lacuna::emulator {

/// What this process has asked of emulated devices so far. On a GPU each of these costs time that
/// the emulator's own clock does not show: a test can demand that they stop growing.
struct Counters {
  std::atomic<std::int64_t> launches{0};  // of kernels
  std::atomic<std::int64_t> gemms{0};
  std::atomic<std::int64_t> gemm_shapes{0};    // distinct ones (GemmShape): each is prepared
  std::atomic<std::int64_t> tuned_shapes{0};   // for which algorithms were timed
  std::atomic<std::int64_t> allocations{0};    // of device memory; a release waits for the device
  std::atomic<std::int64_t> host_waits{0};     // for a stream, an event or, to release, the device
  std::atomic<std::int64_t> copies{0};         // between host and device
  std::atomic<std::int64_t> queued_copies{0};  // of these, those the host does not wait for
  std::atomic<std::int64_t> copied_bytes{0};   // by all copies
  std::atomic<std::int64_t> late_starts{0};    // of streams: as late as the program allows
};
inline Counters counters;

}  // namespace lacuna::emulator
