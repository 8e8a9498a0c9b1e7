#pragma once
#include "decoding/strategy.h"

namespace lacuna {

/// Autoregressive decoding by a causal model: each step draws the token after the last, until there
/// are gen_length of them or one is `end_token`.
class LeftToRight final : public Strategy {
 public:
  LeftToRight(std::int64_t gen_length, std::int64_t end_token) : end_token_(end_token) {
    progress_.of = gen_length;
  }
  StepPlan plan(const Canvas& canvas) const override;
  std::vector<Change> decide(const Canvas& canvas, const StepPlan& plan,
                             const RowStatistics& found) override;
  void advance(const Canvas& canvas) override;

 private:
  const std::int64_t end_token_;
};

}  // namespace lacuna
