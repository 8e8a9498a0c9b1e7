#include "kernels/platform/staging_ring.h"

namespace lacuna {

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
