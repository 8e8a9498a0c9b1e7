#pragma once
#include "decoding/strategies/blockwise.h"

namespace lacuna {

/// As LLaDA's generate() does it: a fixed number of tokens per step (unmasking.h), those of the
/// highest confidence or, with random remasking, any; a token once committed stays. Open to a step
/// are the masked rows up to its block's end, those left over before it among them; with random
/// remasking, which chooses without logits, those that it commits.
class FixedCount final : public Blockwise {
 public:
  FixedCount(const Canvas& canvas, const BlockLayout& layout, const DecodingRequest& request);

  /// As in LLaDA the mask token itself may be predicted; the row then stays masked. Not to infill:
  /// there, a gap would stay.
  bool may_draw_mask() const override { return may_draw_mask_; }
  StepPlan plan(const Canvas& canvas) const override;
  CommitSchedule schedule(const Canvas& canvas) const override;
  std::vector<Change> decide(const Canvas& canvas, const StepPlan& plan,
                             const RowStatistics& found) override;

 private:
  void begin_block(const Canvas& canvas) override;
  bool block_done(const Canvas& canvas) const override;
  /// Of `open` masked rows, in a step.
  std::int64_t count_of(std::int64_t step, std::size_t open) const;
  std::int64_t noise_step() const { return progress_.block * layout().length + progress_.step; }

  const bool may_draw_mask_;
  const Remasking remasking_;
  const std::uint64_t seed_;
  const std::int64_t sample_;
  std::int64_t masked_ = 0;  // in the block when it began
};

}  // namespace lacuna
