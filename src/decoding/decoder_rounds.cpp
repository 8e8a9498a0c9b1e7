#include <algorithm>
#include <limits>

#include "decoding/decoder_state.h"

namespace lacuna {
namespace {

/// Passes between two waits for a device, of strategies whose counts of tokens are not known
/// beforehand. A block that is filled by the first of them wastes the others; a wait costs about as
/// much as a small pass.
constexpr std::int64_t kPassesPerRound = 4;

/// Logits for every row that the block may fill, filled already or not, so that all its rounds have
/// one shape.
void widen(StepPlan& plan, const Canvas& canvas) {
  std::erase_if(plan.open, [&](std::int32_t row) { return row >= plan.block.begin; });
  for (std::int64_t row = plan.block.begin; row < plan.block.end; ++row)
    if (!canvas.fixed[std::size_t(row)]) plan.open.push_back(std::int32_t(row));
}

}  // namespace

/// How many passes a device may make without the host: those that all texts' blocks may take, with
/// the same rows. 0 where a strategy decides on the host.
std::int64_t Decoder::State::passes_of_round(std::span<const PlannedStep> steps,
                                             std::span<const CommitSchedule> schedules) const {
  if (schedules.empty()) return 0;
  auto passes = std::numeric_limits<std::int64_t>::max();
  for (std::size_t i = 0; i < live.size(); ++i) {
    const CommitSchedule& s = schedules[i];
    passes = std::min({passes, std::int64_t(s.least.size()), live[i].cached.alike(steps[i].plan)});
    if (s.rule != CommitRule::count) passes = std::min(passes, kPassesPerRound);
  }
  return passes;
}

std::vector<CommitSchedule> Decoder::State::schedules() const {
  std::vector<CommitSchedule> all;
  if (device)
    for (const DecodingText& text : live)  // a constraint is checked on the host
      all.push_back(text.constraint ? CommitSchedule{} : text.strategy->schedule(text.canvas));
  return all;
}

/// As many steps as run_step() would take them one by one. What they committed comes back after the
/// last or, for an observer, after each.
void Decoder::State::run_round(std::vector<PlannedStep> steps,
                               const std::vector<CommitSchedule>& schedules, std::int64_t passes,
                               const DecodingObserver& observer) {
  for (PlannedStep& step : steps) widen(step.plan, *step.canvas);
  device->begin(batch_of(steps, batch_model), schedules, passes);
  const DecodingBatch& batch = device->batch();
  std::vector<std::uint8_t> in_block(live.size(), true);
  std::int64_t seen = 0;
  for (std::int64_t pass = 0; pass < passes; ++pass) {
    device->step(pass);
    count_pass(steps, batch);
    if (!observer && pass + 1 < passes) continue;
    const RoundCommits& commits = device->commits();
    for (; seen <= pass; ++seen)
      for (std::size_t i = 0; i < live.size(); ++i)
        in_block[i] =
            in_block[i] && take_from_device(live[i], steps[i], std::size_t(batch.draw_offsets[i]),
                                            batch, commits, std::int32_t(seen), observer);
  }
}

/// Returns whether the block goes on.
bool Decoder::State::take_from_device(DecodingText& text, const PlannedStep& step,
                                      std::size_t first_draw, const DecodingBatch& batch,
                                      const RoundCommits& commits, std::int32_t number,
                                      const DecodingObserver& observer) {
  std::vector<Change> changes;
  std::int64_t masked = 0;
  for (std::size_t i = 0; i < step.plan.open.size(); ++i) {
    const std::size_t m = first_draw + i;
    masked += text.canvas.masked[std::size_t(step.plan.open[i])];
    if (commits.step[m] == number)
      changes.push_back({step.plan.open[i], commits.tokens[std::size_t(batch.drawn_row(m))],
                         commits.probability[m]});
  }
  const std::int64_t block = text.strategy->progress().block;
  take(text, step, changes, masked, observer);
  const DecodingProgress& now = text.strategy->progress();
  return !now.finished && now.block == block;
}

}  // namespace lacuna
