#include "decoding/strategies/confidence.h"

#include <algorithm>

#include "decoding/strategies/unmasking.h"

namespace lacuna {

std::int64_t count_above(std::span<const double> confidence, double threshold) {
  const auto end =
      std::find_if(confidence.begin(), confidence.end(), [&](double c) { return c <= threshold; });
  return end - confidence.begin();
}

std::int64_t count_by_factor(std::span<const double> confidence, double factor) {
  std::int64_t n = 0;
  while (n < std::int64_t(confidence.size()) &&
         confidence[std::size_t(n)] >= 1 - factor / double(n + 2))
    ++n;
  return n;
}

std::int64_t count_within(std::span<const double> entropy, double bound) {
  std::int64_t n = 0;
  double before = 0;
  while (n < std::int64_t(entropy.size()) && before <= bound) before += entropy[std::size_t(n++)];
  return n;
}

ConfidenceStrategy::ConfidenceStrategy(const Canvas& canvas, const BlockLayout& layout,
                                       const DecodingOptions& options)
    : Blockwise(canvas, layout), options_(options), masked_(masked_in_block(canvas)) {}

WantedStatistics ConfidenceStrategy::needs() const {
  return {.best = options_.strategy == StrategyKind::margin,
          .entropy = options_.strategy == StrategyKind::entropy};
}

std::vector<Change> ConfidenceStrategy::decide(const Canvas&, const StepPlan& plan,
                                               const RowStatistics& found) {
  // What rows are ordered by: the greatest first, of equal ones the lower row.
  const StrategyKind kind = options_.strategy;
  std::vector<double> score;
  for (std::size_t m = 0; m < plan.open.size(); ++m)
    score.push_back(kind == StrategyKind::entropy ? -double(found.entropy[m])
                    : kind == StrategyKind::margin
                        ? double(found.first[m]) - double(found.second[m])
                        : double(found.confidence[m]));
  const std::vector<std::int64_t> order = by_confidence(score);
  std::vector<double> sorted;
  for (const std::int64_t m : order)
    sorted.push_back(kind == StrategyKind::entropy ? -score[std::size_t(m)]
                                                   : score[std::size_t(m)]);
  std::int64_t count = 0, least = 1;
  switch (kind) {
    case StrategyKind::factor:
      count = count_by_factor(sorted, options_.factor);
      break;
    case StrategyKind::entropy:
      count = count_within(sorted, options_.entropy_bound);
      break;
    case StrategyKind::dynamic:
      least = std::max<std::int64_t>(1, unmasked_in_step(masked_, layout().steps, progress_.step));
      [[fallthrough]];
    default:
      count = count_above(sorted, options_.threshold);
  }
  count = std::clamp<std::int64_t>(count, std::min(least, std::int64_t(order.size())),
                                   std::int64_t(order.size()));
  // The last step that the block may take leaves nothing.
  if (progress_.step + 1 >= layout().steps) count = std::int64_t(order.size());
  std::vector<std::int64_t> chosen(order.begin(), order.begin() + count);
  std::sort(chosen.begin(), chosen.end());
  std::vector<Change> changes;
  for (const std::int64_t m : chosen)
    changes.push_back({plan.open[std::size_t(m)], found.tokens[std::size_t(m)],
                       found.confidence[std::size_t(m)]});
  return changes;
}

}  // namespace lacuna
