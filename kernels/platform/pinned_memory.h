#pragma once
#include <cstddef>
#include <cstdint>

struct CUstream_st;  // *cudaStream_t

namespace lacuna {

/// Page-locked main memory, which a device copies to and from while the host goes on. Implemented
/// twice, in kernels/platform/gpu and kernels/platform/emulated.
class PinnedMemory {
 public:
  explicit PinnedMemory(std::int64_t bytes);
  /// Nothing that is queued may still use it.
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;

  /// Pieces of it begin at multiples of 64 bytes: what one of `bytes` takes.
  static constexpr std::int64_t aligned(std::int64_t bytes) { return (bytes + 63) / 64 * 64; }

  std::byte* data() const { return data_; }
  std::int64_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::int64_t bytes_ = 0;
};

/// Queues the copy of `bytes` bytes of device memory to `to`, in a PinnedMemory. `op` begins the
/// message of an Error.
void copy_to_pinned(CUstream_st* stream, const char* op, std::byte* to, const void* from,
                    std::int64_t bytes);
/// The same to device memory, from a PinnedMemory.
void copy_from_pinned(CUstream_st* stream, const char* op, void* to, const std::byte* from,
                      std::int64_t bytes);

}  // namespace lacuna
