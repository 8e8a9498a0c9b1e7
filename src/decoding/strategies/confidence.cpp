#include "decoding/strategies/confidence.h"

#include <algorithm>

#include "decoding/strategies/unmasking.h"

namespace lacuna {
namespace {

CommitRule rule_of(StrategyKind kind) {
  switch (kind) {
    case StrategyKind::factor:
      return CommitRule::factor;
    case StrategyKind::entropy:
      return CommitRule::entropy;
    case StrategyKind::margin:
      return CommitRule::margin;
    default:
      return CommitRule::above;
  }
}

double bound_of(const DecodingOptions& options) {
  switch (options.strategy) {
    case StrategyKind::factor:
      return options.factor;
    case StrategyKind::entropy:
      return options.entropy_bound;
    default:
      return options.threshold;
  }
}

}  // namespace

ConfidenceStrategy::ConfidenceStrategy(const Canvas& canvas, const BlockLayout& layout,
                                       const DecodingOptions& options)
    : Blockwise(canvas, layout),
      kind_(options.strategy),
      rule_(rule_of(kind_)),
      bound_(bound_of(options)),
      masked_(masked_in_block(canvas)) {}

WantedStatistics ConfidenceStrategy::needs() const {
  return {.best = rule_ == CommitRule::margin, .entropy = rule_ == CommitRule::entropy};
}

std::int64_t ConfidenceStrategy::least(std::int64_t step, std::int64_t masked) const {
  // The last step that the block may take leaves nothing.
  if (step + 1 >= layout().steps) return masked;
  if (kind_ != StrategyKind::dynamic) return std::min<std::int64_t>(1, masked);
  return std::min(masked,
                  std::max<std::int64_t>(1, unmasked_in_step(masked_, layout().steps, step)));
}

CommitSchedule ConfidenceStrategy::schedule(const Canvas& canvas) const {
  CommitSchedule schedule{.rule = rule_, .bound = bound_};
  // Each step leaves fewer, as none commits the mask token.
  const std::int64_t masked = masked_in_block(canvas);
  const std::int64_t end = std::min(layout().steps, progress_.step + masked);
  for (std::int64_t step = progress_.step; step < end; ++step)
    schedule.least.push_back(std::int32_t(least(step, masked)));
  return schedule;
}

std::vector<Change> ConfidenceStrategy::decide(const Canvas&, const StepPlan& plan,
                                               const RowStatistics& found) {
  const ScoreSources scores{found.confidence.data(), found.first.data(), found.second.data(),
                            found.entropy.data()};
  const auto n = std::int32_t(plan.open.size());
  std::vector<double> of_draws;
  for (std::int32_t m = 0; m < n; ++m) of_draws.push_back(scores.score(rule_, m));
  std::vector<ScoredDraw> chosen = in_order(of_draws);
  chosen.resize(std::size_t(std::max<std::int64_t>(chosen_by(rule_, bound_, chosen.data(), n),
                                                   least(progress_.step, n))));
  std::sort(chosen.begin(), chosen.end(),
            [](const ScoredDraw& a, const ScoredDraw& b) { return a.draw < b.draw; });
  std::vector<Change> changes;
  for (const ScoredDraw& c : chosen) changes.push_back(committed(plan, found, std::size_t(c.draw)));
  return changes;
}

}  // namespace lacuna
