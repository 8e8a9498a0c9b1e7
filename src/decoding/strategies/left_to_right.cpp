#include "decoding/strategies/left_to_right.h"

namespace lacuna {

StepPlan LeftToRight::plan(const Canvas& canvas) const {
  const auto next = std::int32_t(canvas.rows());
  return {.block = {next, next + 1}, .visible = next, .open = {next}, .shift = 1, .noise_step = 0};
}

std::vector<Change> LeftToRight::decide(const Canvas&, const StepPlan& plan,
                                        const RowStatistics& found) {
  return {{plan.open[0], found.tokens[0], found.confidence[0]}};
}

void LeftToRight::advance(const Canvas& canvas) {
  progress_.step = ++progress_.done;
  progress_.finished = progress_.done == progress_.of || canvas.tokens.back() == end_token_;
}

}  // namespace lacuna
