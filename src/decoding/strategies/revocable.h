#pragma once
#include "decoding/strategies/blockwise.h"

namespace lacuna {

// Strategies that take back what they committed, within the block. Each fills at least one masked
// row per step, or, once none is left, ends after a bounded number of steps.

/// ReMDM (arXiv:2503.00307), the capped schedule with alpha = 1 - t: step i of n of a block goes
/// from a = i / n filled to b = (i + 1) / n, with s = min(remask_rate, (1 - b) / a):
///
///   a filled row is masked again with probability s;
///   a masked one is filled with probability (b - (1 - s) a) / (1 - a).
///
/// Where that fills none, the row that came nearest to being filled is. Rows are chosen by chance
/// alone, whatever was predicted: CounterRng{seed, Purpose::remasking, sample << 32 | step}.
class ReMdm final : public Blockwise {
 public:
  ReMdm(const Canvas& canvas, const BlockLayout& layout, const DecodingRequest& request);
  std::vector<Change> decide(const Canvas& canvas, const StepPlan& plan,
                             const RowStatistics& found) override;

 private:
  bool block_done(const Canvas& canvas) const override;

  const double rate_;
  const std::uint64_t seed_;
  const std::int64_t sample_;
};

/// WINO (arXiv:2507.18578): commits as `threshold` does, between 1 and min(max(0.7 masked, 5), 20)
/// tokens. What is committed is verified by shadows, masked rows at the same positions, which see
/// everything but the row that they stand for and are seen by each other alone: a token that its
/// shadow finds less probable than `revise_threshold` is masked again. Of those, none in a step
/// that commits one token, and at most one less than were committed a step before, so that the
/// block gets filled. Every row of the block has a shadow, as in the authors' code
/// (github.com/Feng-Hong/WINO-DLLM), once there is a token to verify.
class Wino final : public Blockwise {
 public:
  Wino(const Canvas& canvas, const BlockLayout& layout, const DecodingOptions& options);
  WantedStatistics needs() const override { return {.current = true}; }
  StepPlan plan(const Canvas& canvas) const override;
  std::vector<Change> decide(const Canvas& canvas, const StepPlan& plan,
                             const RowStatistics& found) override;

 private:
  void begin_block(const Canvas&) override { accepted_ = 0; }

  const double draft_, verify_;
  std::int64_t accepted_ = 0;  // by the last step
};

/// Token editing (LLaDA2.1, arXiv:2602.08676): masked rows as `threshold`; a committed row whose
/// most probable token is another, of a probability above `revise_threshold`, gets that. Once no
/// row is masked, until nothing changes, for at most 16 steps. Of use with models that were trained
/// to correct tokens.
class TokenEditing final : public Blockwise {
 public:
  TokenEditing(const Canvas& canvas, const BlockLayout& layout, const DecodingOptions& options);
  WantedStatistics needs() const override { return {.best = true}; }
  StepPlan plan(const Canvas& canvas) const override;
  std::vector<Change> decide(const Canvas& canvas, const StepPlan& plan,
                             const RowStatistics& found) override;

 private:
  void begin_block(const Canvas&) override {
    full_steps_ = 0;
    changed_ = true;
  }
  bool block_done(const Canvas& canvas) const override;

  const double fill_, edit_;
  std::int64_t full_steps_ = 0;  // since no row was masked
  bool changed_ = true;          // by the last step
};

}  // namespace lacuna
