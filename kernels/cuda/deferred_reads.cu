#include <algorithm>
#include <cstdint>
#include <deque>
#include <exception>
#include <optional>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/deferred_reads.h"
#include "kernels/platform/pinned_memory.h"
#include "kernels/platform/stream.h"

namespace lacuna {
namespace {

constexpr std::int64_t kReadBlockBytes = std::int64_t{64} << 10;

/// Into blocks of pinned memory that never move.
class CudaReads final : public DeferredReads {
 public:
  explicit CudaReads(CudaOps& ops) : ops_(ops) {}
  /// What is queued may still write here.
  ~CudaReads() override {
    if (blocks_.empty()) return;
    try {
      ops_.synchronize();
    } catch (const std::exception&) {  // nobody waited to hear of it
    }
  }

  void begin() override {
    current_ = 0;
    used_ = 0;
  }
  void end() override { end_.emplace(ops_.stream(), Event::Kind::order); }
  void wait() override {
    if (end_) end_->wait();
    end_.reset();
  }

 private:
  const std::byte* add_bytes(Tensor x) override {
    CHECK(x.contiguous() && x.place == Place::device, "a deferred read of ", x);
    const std::int64_t bytes = x.bytes();
    while (current_ < blocks_.size() && used_ + bytes > blocks_[current_].bytes()) {
      ++current_;
      used_ = 0;
    }
    if (current_ == blocks_.size()) blocks_.emplace_back(std::max(bytes, kReadBlockBytes));
    std::byte* const to = blocks_[current_].data() + used_;
    copy_to_pinned(ops_.stream(), "deferred read", to, x.data, bytes);
    used_ += PinnedMemory::aligned(bytes);
    return to;
  }

  CudaOps& ops_;
  std::deque<PinnedMemory> blocks_;
  std::size_t current_ = 0;
  std::int64_t used_ = 0;     // of the current block
  std::optional<Event> end_;  // until it was waited for
};

}  // namespace

std::unique_ptr<DeferredReads> make_deferred_reads(Ops& ops) {
  auto* const cuda = dynamic_cast<CudaOps*>(&ops);
  if (!cuda) return nullptr;
  return std::make_unique<CudaReads>(*cuda);
}

}  // namespace lacuna
