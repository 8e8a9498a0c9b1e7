#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/arena.h"
#include "kernels/platform/pinned_memory.h"
#include "kernels/platform/stream.h"

namespace lacuna {

/// Pinned memory for small copies to a device: the source is copied here, so that the caller may
/// change it at once and the host need not wait for the device. Used in turn, in blocks; the host
/// waits only when the device has not come to the copies from the block that it takes next.
class StagingRing {
 public:
  static constexpr std::int64_t kBlocks = 4, kBlockBytes = std::int64_t{1} << 20;

  /// What is staged is used by work on `stream`. Allocates with the first use; `memory` is the
  /// device's.
  StagingRing(CUstream_st* stream, Memory& memory) : stream_(stream), memory_(memory) {}
  /// Nothing that is queued may still use it.
  ~StagingRing() { release(); }
  StagingRing(const StagingRing&) = delete;
  StagingRing& operator=(const StagingRing&) = delete;

  /// `rows` rows of `width` bytes, which lie `pitch` bytes apart at `from`, without the gaps: for a
  /// copy that is queued on the stream before the next call. At most kBlockBytes.
  const std::byte* packed(const void* from, std::int64_t pitch, std::int64_t width,
                          std::int64_t rows);

  /// Memory for a transfer, both aligned to 64.
  struct Transfer {
    std::byte* host;          // for the caller to fill
    const std::byte* device;  // after send(), for work that is queued before the next call
    std::int64_t bytes;
  };
  /// Of any size: memory for a larger one than ever before is allocated, when all work is done.
  Transfer transfer(std::int64_t bytes);
  /// Queues the copy to the device on a stream of its own, so that it does not wait for earlier
  /// work; what is queued on the stream from now on runs after it.
  void send(const char* op, const Transfer& transfer);

 private:
  /// Where `bytes` bytes are in the blocks, aligned to 64.
  std::int64_t take(std::int64_t bytes);
  void release();

  CUstream_st* const stream_;
  Memory& memory_;
  std::optional<PinnedMemory> blocks_;
  std::optional<Stream> transfers_;
  std::byte* device_ = nullptr;  // as large as blocks_, from the first transfer on
  std::int64_t block_bytes_ = kBlockBytes;
  std::array<std::optional<Event>, kBlocks> left_;  // after the work that used each block
  std::size_t current_ = 0;
  std::int64_t used_ = 0;  // of the current block
};

}  // namespace lacuna
