#pragma once
#include "decoding/strategy.h"

namespace lacuna {

/// As LLaDA's generate() does it: a fixed number of tokens per step (unmasking.h), those of the
/// highest confidence or, with random remasking, any; a token once committed stays. Blocks are
/// filled from left to right. Open to a step are the masked rows up to its block's end, those left
/// over before it among them; with random remasking, which chooses without logits, those that it
/// commits.
class FixedCount final : public Strategy {
 public:
  /// The canvas is a prompt followed by gen_length masked rows. As in LLaDA the mask token itself
  /// may be predicted; the row then stays masked.
  static std::unique_ptr<FixedCount> after_prompt(const Canvas& canvas,
                                                  const DecodingRequest& request);
  /// The masked rows of the whole canvas are one block. `mask_token` is never committed: a step in
  /// which nothing else is predicted is the last.
  static std::unique_ptr<FixedCount> infilling(const Canvas& canvas, const DecodingRequest& request,
                                               std::int32_t mask_token);

  StepPlan plan(const Canvas& canvas) const override;
  std::vector<std::int32_t> known_counts() const override;
  std::vector<std::int64_t> choose(const Draws& draws) override;
  void advance(const Canvas& canvas) override;

 private:
  FixedCount(const DecodingRequest& request, std::int64_t first, std::int64_t block_length,
             std::int64_t blocks, std::int64_t steps_per_block);
  void begin_block(const Canvas& canvas);
  std::int64_t count_of(std::int64_t step) const;
  std::int64_t noise_step() const { return progress_.block * block_length_ + progress_.step; }

  const Remasking remasking_;
  const std::uint64_t seed_;
  const std::int64_t sample_;
  const std::int64_t first_, block_length_, blocks_, steps_per_block_;
  std::int32_t never_ = -1;  // a token that is not committed
  std::int64_t masked_ = 0;  // in the block when it began
  bool committed_ = true;    // whether the last step found anything to commit
};

}  // namespace lacuna
