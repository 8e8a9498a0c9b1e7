#include "decoding/strategies/fixed_count.h"

#include <algorithm>

#include "decoding/strategies/unmasking.h"

namespace lacuna {

FixedCount::FixedCount(const Canvas& canvas, const BlockLayout& layout,
                       const DecodingRequest& request)
    : Blockwise(canvas, layout),
      may_draw_mask_(!request.infill && layout.sees_later),
      remasking_(request.options.remasking),
      seed_(request.options.seed),
      sample_(request.sample),
      masked_(masked_in_block(canvas)) {
  // Blocks of the answer are all masked, and those before it are not filled.
  if (!request.infill && layout.sees_later)
    progress_.of = layout.count(canvas.rows()) * busy_steps(layout.length, layout.steps);
}

void FixedCount::begin_block(const Canvas& canvas) { masked_ = masked_in_block(canvas); }

bool FixedCount::block_done(const Canvas& canvas) const {
  if (layout().until_filled) return Blockwise::block_done(canvas);
  return progress_.step == busy_steps(masked_, layout().steps);
}

std::int64_t FixedCount::count_of(std::int64_t step, std::size_t open) const {
  const std::int64_t count = unmasked_in_step(masked_, layout().steps, step);
  return layout().until_filled ? std::clamp<std::int64_t>(count, 1, std::int64_t(open)) : count;
}

StepPlan FixedCount::plan(const Canvas& canvas) const {
  StepPlan plan = plan_from(canvas, 0);
  plan.noise_step = std::uint64_t(noise_step());
  if (remasking_ == Remasking::random) {
    std::vector<double> confidence;
    confidence.reserve(plan.open.size());
    for (const std::int32_t i : plan.open)
      confidence.push_back(random_confidence(seed_, sample_, noise_step(), i));
    std::vector<std::int32_t> chosen;
    for (const std::int64_t c :
         most_confident(confidence, count_of(progress_.step, confidence.size())))
      chosen.push_back(plan.open[std::size_t(c)]);
    plan.open = std::move(chosen);
  }
  return plan;
}

CommitSchedule FixedCount::schedule(const Canvas&) const {
  CommitSchedule schedule;
  if (remasking_ == Remasking::random) return schedule;
  for (std::int64_t step = progress_.step; step < busy_steps(masked_, layout().steps); ++step)
    schedule.least.push_back(std::int32_t(unmasked_in_step(masked_, layout().steps, step)));
  return schedule;
}

std::vector<Change> FixedCount::decide(const Canvas&, const StepPlan& plan,
                                       const RowStatistics& found) {
  const std::vector<double> confidence(found.confidence.begin(), found.confidence.end());
  std::vector<Change> changes;
  for (const std::int64_t m :
       most_confident(confidence, count_of(progress_.step, confidence.size())))
    changes.push_back(committed(plan, found, std::size_t(m)));
  return changes;
}

}  // namespace lacuna
