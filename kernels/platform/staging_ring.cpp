#include "kernels/platform/staging_ring.h"

#include <cstring>

namespace lacuna {

const std::byte* StagingRing::packed(const void* from, std::int64_t pitch, std::int64_t width,
                                     std::int64_t rows) {
  std::byte* const to = take(width * rows);
  for (std::int64_t row = 0; row < rows; ++row)
    std::memcpy(to + row * width, static_cast<const char*>(from) + row * pitch, std::size_t(width));
  return to;
}

std::byte* StagingRing::take(std::int64_t bytes) {
  if (used_ + bytes > kBlockBytes) {
    blocks_[current_].left.emplace(stream_, Event::Kind::order);
    current_ = (current_ + 1) % blocks_.size();
    used_ = 0;
    if (const auto& left = blocks_[current_].left; left && !left->reached()) left->wait();
  }
  Block& block = blocks_[current_];
  if (!block.memory) block.memory.emplace(kBlockBytes);
  std::byte* const taken = block.memory->data() + used_;
  used_ += (bytes + 63) / 64 * 64;
  return taken;
}

}  // namespace lacuna
