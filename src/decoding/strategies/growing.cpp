#include "decoding/strategies/growing.h"

#include <algorithm>
#include <numeric>

namespace lacuna {
namespace {

// The authors' defaults.
constexpr std::int64_t kEndRows = 32, kAddedMasks = 8;
constexpr double kEndExpected = 0.5, kEndExpectedWhileFilling = 0.9, kLowConfidence = 0.1;

/// Statistics of some of the rows that a step found.
struct Selected {
  std::vector<std::int32_t> tokens, best;
  std::vector<float> confidence, first, second, entropy;

  Selected(const StepPlan& plan, const RowStatistics& found,
           const std::vector<std::int32_t>& rows) {
    const auto select = [&](auto& to, const auto& from) {
      for (std::size_t m = 0, i = 0; m < plan.open.size() && i < rows.size(); ++m)
        if (plan.open[m] == rows[i]) {
          if (!from.empty()) to.push_back(from[m]);
          ++i;
        }
    };
    select(tokens, found.tokens);
    select(confidence, found.confidence);
    select(best, found.best);
    select(first, found.first);
    select(second, found.second);
    select(entropy, found.entropy);
  }
  RowStatistics view() const { return {tokens, confidence, best, first, second, entropy, {}}; }
};

}  // namespace

Growing::Growing(const Canvas& canvas, const BlockLayout& layout, const DecodingOptions& options,
                 std::int32_t end_token)
    : layout_(layout),
      options_(options),
      end_token_(end_token),
      most_rows_(layout.first + options.gen_length) {
  show_progress(canvas);
}

WantedStatistics Growing::needs() const {
  return {.best = true, .entropy = options_.strategy == StrategyKind::entropy};
}

bool Growing::may_grow(const Canvas& canvas) const {
  const bool computes_all = options_.cache == CacheKind::none || options_.refresh_every == 1;
  return room(canvas) > 0 && (computes_all || filling_->progress().step == 0);
}

StepPlan Growing::plan(const Canvas& canvas) const {
  StepPlan plan;
  if (filling_) {
    plan = filling_->plan(canvas);
    if (!may_grow(canvas)) return plan;
  } else {
    plan.block = {layout_.first, canvas.rows()};
    plan.visible = canvas.rows();
    plan.shift = layout_.shift;
  }
  plan.open.resize(std::size_t(canvas.rows() - plan.block.begin));
  std::iota(plan.open.begin(), plan.open.end(), std::int32_t(plan.block.begin));
  return plan;
}

double Growing::expectation_of_end(const RowStatistics& found) const {
  double sum = 0;
  std::int64_t rows = 0;
  for (std::size_t m = found.best.size(); m-- > 0 && rows < kEndRows;)
    if (found.best[m] == end_token_) {
      sum += double(found.first[m]);
      ++rows;
    }
  return sum / double(kEndRows);
}

void Growing::lengthen(const Canvas& canvas, const RowStatistics& found) {
  growth_.row = canvas.rows();
  if (expectation_of_end(found) < kEndExpected && room(canvas) > 0) {
    growth_.masks = std::min(kAddedMasks, room(canvas));
  } else {
    growth_.ends = std::min(kEndRows / 2, room(canvas));
    long_enough_ = true;
  }
}

std::vector<Change> Growing::decide(const Canvas& canvas, const StepPlan& plan,
                                    const RowStatistics& found) {
  growth_ = {};
  if (!filling_) {
    lengthen(canvas, found);
    return {};
  }
  const StepPlan open = filling_->plan(canvas);
  const Selected selected(plan, found, open.open);
  std::vector<Change> changes = filling_->decide(canvas, open, selected.view());
  if (!may_grow(canvas) || expectation_of_end(found) >= kEndExpectedWhileFilling) return changes;
  double least = kLowConfidence;
  for (std::size_t m = 0, next = 0; m < open.open.size(); ++m) {
    const bool chosen = next < changes.size() && changes[next].row == open.open[m];
    next += chosen;
    if (chosen || double(selected.confidence[m]) >= least) continue;
    least = double(selected.confidence[m]);
    growth_ = {open.open[m], std::min(kAddedMasks - 1, room(canvas)), 0};
  }
  return changes;
}

void Growing::show_progress(const Canvas& canvas) {
  if (filling_) progress_ = filling_->progress();
  progress_.done = passes_before_ + (filling_ ? filling_->progress().done : 0);
  progress_.of = progress_.done + std::count(canvas.masked.begin(), canvas.masked.end(), true);
}

void Growing::advance(const Canvas& canvas) {
  if (filling_) {
    filling_->advance(canvas);
  } else {
    ++passes_before_;
    if (long_enough_) filling_.emplace(canvas, layout_, options_);
  }
  show_progress(canvas);
}

}  // namespace lacuna
