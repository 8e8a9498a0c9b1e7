#pragma once
#include "decoding/strategies/blockwise.h"

namespace lacuna {

/// Commits what is certain enough, at least one token per step, and keeps it:
///
///   threshold   confidence > threshold (Fast-dLLM, arXiv:2505.22618)
///   dynamic     those, or where they are fewer than strategy fixed would commit, as many as that
///               (SDAR, arXiv:2510.06303: "low confidence dynamic")
///   factor      in order of confidence, the n-th while confidence >= 1 - factor / (n + 1)
///               (Fast-dLLM, "factor-based")
///   entropy     in order of entropy, while the entropies before sum to at most entropy_bound
///               (EB-Sampler, arXiv:2505.24857)
///   margin      p(first) - p(second) > threshold (Dream's "topk_margin", arXiv:2508.15487)
///
/// Confidence is the drawn token's probability without noise. With a temperature, an improbable
/// draw is not committed and drawn anew in the next step: texts lean towards the probable.
class ConfidenceStrategy final : public Blockwise {
 public:
  ConfidenceStrategy(const Canvas& canvas, const BlockLayout& layout,
                     const DecodingOptions& options);

  WantedStatistics needs() const override;
  CommitSchedule schedule(const Canvas& canvas) const override;
  std::vector<Change> decide(const Canvas& canvas, const StepPlan& plan,
                             const RowStatistics& found) override;

 private:
  void begin_block(const Canvas& canvas) override { masked_ = masked_in_block(canvas); }
  /// Of `masked` rows in a step of the block.
  std::int64_t least(std::int64_t step, std::int64_t masked) const;

  const StrategyKind kind_;
  const CommitRule rule_;
  const double bound_;
  std::int64_t masked_;  // in the block when it began
};

}  // namespace lacuna
