#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "kernels/platform/pinned_memory.h"
#include "kernels/platform/stream.h"

namespace lacuna {

/// Pinned memory for small copies to a device: the source is copied here, so that the caller may
/// change it at once and the host need not wait for the device. Used in turn, in blocks; the host
/// waits only when the device has not come to the copies from the block that it takes next.
class StagingRing {
 public:
  static constexpr std::int64_t kBlocks = 4, kBlockBytes = std::int64_t{1} << 20;

  /// All copies from it are queued on `stream`. Allocates with the first use.
  explicit StagingRing(CUstream_st* stream) : stream_(stream) {}
  /// `rows` rows of `width` bytes, which lie `pitch` bytes apart at `from`, without the gaps: for a
  /// copy that is queued before the next call. At most kBlockBytes.
  const std::byte* packed(const void* from, std::int64_t pitch, std::int64_t width,
                          std::int64_t rows);

 private:
  /// Aligned to 64.
  std::byte* take(std::int64_t bytes);

  struct Block {
    std::optional<PinnedMemory> memory;
    std::optional<Event> left;  // after the copies from it
  };

  CUstream_st* const stream_;
  std::array<Block, kBlocks> blocks_;
  std::size_t current_ = 0;
  std::int64_t used_ = 0;  // of the current block
};

}  // namespace lacuna
