#include "kernels/platform/staging_ring.h"

#include <cstring>

namespace lacuna {

const std::byte* StagingRing::packed(const void* from, std::int64_t pitch, std::int64_t width,
                                     std::int64_t rows) {
  const std::int64_t at = take(width * rows);  // may allocate the blocks
  std::byte* const to = blocks_->data() + at;
  for (std::int64_t row = 0; row < rows; ++row)
    std::memcpy(to + row * width, static_cast<const char*>(from) + row * pitch, std::size_t(width));
  return to;
}

StagingRing::Transfer StagingRing::transfer(std::int64_t bytes) {
  const std::int64_t at = take(bytes);
  if (!device_) {
    device_ = static_cast<std::byte*>(memory_.allocate(blocks_->bytes()));
    if (!transfers_) transfers_.emplace(Stream::Purpose::transfer);
    Event(stream_, Event::Kind::order).before(*transfers_);  // new memory is zeroed on the stream
  }
  return {blocks_->data() + at, device_ + at, bytes};
}

void StagingRing::send(const char* op, const Transfer& transfer) {
  copy_from_pinned(*transfers_, op, const_cast<std::byte*>(transfer.device), transfer.host,
                   transfer.bytes);
  Event(*transfers_, Event::Kind::order).before(stream_);
}

std::int64_t StagingRing::take(std::int64_t bytes) {
  if (bytes > block_bytes_) {
    if (blocks_) Event(stream_, Event::Kind::order).wait();
    release();
    block_bytes_ = (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
  }
  if (!blocks_) blocks_.emplace(kBlocks * block_bytes_);
  if (used_ + bytes > block_bytes_) {
    left_[current_].emplace(stream_, Event::Kind::order);
    current_ = (current_ + 1) % left_.size();
    used_ = 0;
    if (const auto& left = left_[current_]; left && !left->reached()) left->wait();
  }
  const std::int64_t taken = std::int64_t(current_) * block_bytes_ + used_;
  used_ += PinnedMemory::aligned(bytes);
  return taken;
}

void StagingRing::release() {
  if (device_) memory_.release(device_, blocks_->bytes());
  device_ = nullptr;
  blocks_.reset();
  for (std::optional<Event>& left : left_) left.reset();
  current_ = 0;
  used_ = 0;
}

}  // namespace lacuna
