#include "decoding/strategies/revocable.h"

#include <algorithm>
#include <span>

#include "core/philox.h"
#include "decoding/strategies/unmasking.h"

namespace lacuna {
namespace {

/// Rows of the block that are the answer's.
std::vector<std::int32_t> answer_rows(const Canvas& canvas, RowRange block) {
  std::vector<std::int32_t> rows;
  for (std::int64_t i = block.begin; i < block.end; ++i)
    if (!canvas.fixed[std::size_t(i)]) rows.push_back(std::int32_t(i));
  return rows;
}

/// Those that hold a token.
std::vector<std::int32_t> committed_rows(const Canvas& canvas, RowRange block) {
  std::vector<std::int32_t> rows = answer_rows(canvas, block);
  std::erase_if(rows, [&](std::int32_t row) { return canvas.masked[std::size_t(row)]; });
  return rows;
}

/// Draws with more confidence than `threshold`, at least one of them, if there is one, and at most
/// `most`.
std::vector<ScoredDraw> confident(std::span<const double> confidence, double threshold,
                                  std::int64_t most) {
  std::vector<ScoredDraw> draws = in_order(confidence);
  const auto n = std::int32_t(draws.size());
  const std::int64_t above = chosen_by(CommitRule::above, threshold, draws.data(), n);
  draws.resize(std::size_t(std::min<std::int64_t>(n, std::clamp<std::int64_t>(above, 1, most))));
  return draws;
}

void sort_by_row(std::vector<Change>& changes) {
  std::sort(changes.begin(), changes.end(),
            [](const Change& a, const Change& b) { return a.row < b.row; });
}

}  // namespace

// --- ReMDM

ReMdm::ReMdm(const Canvas& canvas, const BlockLayout& layout, const DecodingRequest& request)
    : Blockwise(canvas, layout),
      rate_(request.options.remask_rate),
      seed_(request.options.seed),
      sample_(request.sample) {
  progress_.of = layout.count(canvas.rows()) * layout.steps;
}

bool ReMdm::block_done(const Canvas&) const { return progress_.step == layout().steps; }

std::vector<Change> ReMdm::decide(const Canvas& canvas, const StepPlan& plan,
                                  const RowStatistics& found) {
  const double n = double(layout().steps), a = double(progress_.step) / n,
               b = double(progress_.step + 1) / n;
  const bool last = progress_.step + 1 == layout().steps;
  const double again = last ? 0 : a > 0 ? std::min(rate_, (1 - b) / a) : 0;
  const double fill = last ? 1 : (b - (1 - again) * a) / (1 - a);
  const auto chance = [&](std::int32_t row) {
    return random_confidence(seed_, sample_, progress_.done, row);
  };
  std::vector<Change> changes;
  std::size_t nearest = 0;
  for (std::size_t m = 0; m < plan.open.size(); ++m) {
    if (chance(plan.open[m]) < fill) changes.push_back(committed(plan, found, m));
    if (chance(plan.open[m]) < chance(plan.open[nearest])) nearest = m;
  }
  if (changes.empty() && !plan.open.empty()) changes.push_back(committed(plan, found, nearest));
  for (const std::int32_t row : committed_rows(canvas, plan.block))
    if (chance(row) < again) changes.push_back({row, kMaskAgain, 0});
  sort_by_row(changes);
  return changes;
}

// --- WINO

Wino::Wino(const Canvas& canvas, const BlockLayout& layout, const DecodingOptions& options)
    : Blockwise(canvas, layout), draft_(options.threshold), verify_(options.revise_threshold) {}

StepPlan Wino::plan(const Canvas& canvas) const {
  StepPlan plan = Blockwise::plan(canvas);
  plan.verified = committed_rows(canvas, plan.block);
  if (!plan.verified.empty()) plan.shadows = answer_rows(canvas, plan.block);
  return plan;
}

std::vector<Change> Wino::decide(const Canvas&, const StepPlan& plan, const RowStatistics& found) {
  const auto masked = std::int64_t(plan.open.size());
  const std::int64_t most = std::clamp<std::int64_t>(masked * 7 / 10, 5, 20);
  std::vector<Change> changes;
  const std::vector<double> confidence(found.confidence.begin(), found.confidence.begin() + masked);
  for (const ScoredDraw& c : confident(confidence, draft_, most))
    changes.push_back(committed(plan, found, std::size_t(c.draw)));
  const auto accepted = std::int64_t(changes.size());

  // The least probable first.
  std::vector<double> doubt;
  const std::size_t first = plan.open.size();
  for (std::size_t i = 0; i < plan.verified.size(); ++i)
    doubt.push_back(-double(found.current[first + i]));
  const std::int64_t revocable = accepted > 1 ? std::max<std::int64_t>(0, accepted_ - 1) : 0;
  for (const ScoredDraw& shadow : in_order(doubt)) {
    if (accepted + revocable == std::int64_t(changes.size())) break;
    if (-shadow.score >= verify_) break;
    changes.push_back({plan.verified[std::size_t(shadow.draw)], kMaskAgain, 0});
  }
  accepted_ = accepted;
  sort_by_row(changes);
  return changes;
}

// --- token editing

namespace {
constexpr std::int64_t kStepsWhenFull = 16;
}

TokenEditing::TokenEditing(const Canvas& canvas, const BlockLayout& layout,
                           const DecodingOptions& options)
    : Blockwise(canvas, layout), fill_(options.threshold), edit_(options.revise_threshold) {
  progress_.of += layout.count(canvas.rows()) * kStepsWhenFull;
}

StepPlan TokenEditing::plan(const Canvas& canvas) const {
  StepPlan plan = Blockwise::plan(canvas);
  const std::vector<std::int32_t> committed = committed_rows(canvas, plan.block);
  plan.open.insert(plan.open.end(), committed.begin(), committed.end());
  std::sort(plan.open.begin(), plan.open.end());
  return plan;
}

std::vector<Change> TokenEditing::decide(const Canvas& canvas, const StepPlan& plan,
                                         const RowStatistics& found) {
  std::vector<Change> changes;
  std::vector<double> confidence;
  std::vector<std::size_t> masked;
  for (std::size_t m = 0; m < plan.open.size(); ++m) {
    const std::int32_t row = plan.open[m];
    if (canvas.masked[std::size_t(row)]) {
      masked.push_back(m);
      confidence.push_back(double(found.confidence[m]));
    } else if (found.best[m] != canvas.tokens[std::size_t(row)] && double(found.first[m]) > edit_) {
      changes.push_back({row, found.best[m], found.first[m]});
    }
  }
  for (const ScoredDraw& c : confident(confidence, fill_, std::int64_t(masked.size())))
    changes.push_back(committed(plan, found, masked[std::size_t(c.draw)]));
  changed_ = !changes.empty();
  full_steps_ = masked.empty() ? full_steps_ + 1 : 0;
  sort_by_row(changes);
  return changes;
}

bool TokenEditing::block_done(const Canvas& canvas) const {
  return masked_in_block(canvas) == 0 && (!changed_ || full_steps_ >= kStepsWhenFull);
}

}  // namespace lacuna
