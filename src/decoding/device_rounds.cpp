#include "decoding/device_rounds.h"

#include <algorithm>
#include <utility>

#include "core/tensor_of.h"

namespace lacuna {
namespace {

/// Shapes whose records are kept: those of the passes within a block and at its begin, of a few
/// numbers of texts.
constexpr std::size_t kRecords = 8;

/// rows of Ops::decide: each draw's row and, of a guided batch, that of the unconditional branch.
std::vector<std::int32_t> rows_of(const DecodingBatch& batch) {
  const auto draws = std::size_t(batch.draws());
  std::vector<std::int32_t> rows;
  for (std::size_t m = 0; m < draws; ++m) rows.push_back(batch.drawn_row(m));
  if (batch.guided > 0) rows.resize(2 * draws, -1);
  std::size_t m = 0, other = draws;
  for (const DrawRun& run : batch.runs)
    for (; m < std::size_t(run.end); ++m)
      if (run.cfg_scale > 0) rows[draws + m] = batch.drawn_row(other++);
  return rows;
}

}  // namespace

Plan DeviceRounds::make_plan(const ModelLimits& limits, Slots& slots) {
  Plan plan;
  const std::int64_t M = limits.logit_rows, S = limits.sequences;
  slots.rows = plan.add("decoding/rows", {2 * M}, DType::i32);
  slots.offsets = plan.add("decoding/offsets", {S + 1}, DType::i32);
  slots.rules = plan.add("decoding/rules", {S}, DType::i32);
  slots.bounds = plan.add("decoding/bounds", {S}, DType::f64);
  // Every step may fill something in each canvas, which has at least as many tokens as there are
  // steps.
  slots.least = plan.add("decoding/least", {limits.rows + limits.cache_rows}, DType::i32);
  slots.step = plan.add("decoding/step", {M}, DType::i32);
  slots.probability = plan.add("decoding/probability", {M});
  slots.not_finite = plan.add("decoding/not finite", {1}, DType::i32);
  return plan;
}

Plan DeviceRounds::plan(const ModelLimits& limits) {
  Slots slots;
  return make_plan(limits, slots);
}

DeviceRounds::DeviceRounds(Ops& ops, TokenPredictor& predictor, std::int32_t mask_token,
                           const ModelLimits& limits)
    : ops_(ops),
      predictor_(predictor),
      mask_token_(mask_token),
      arena_(ops.memory(), make_plan(limits, slots_)) {}

bool DeviceRounds::goes_on(const DecodingBatch& batch, const Placed& placed) const {
  return fetched_ == predictor_.placements() && batch.tokens == commits_.tokens &&
         batch.sequences == batch_.sequences && batch.keys == batch_.keys &&
         batch.draw_offsets == batch_.draw_offsets && placed == placed_;
}

void DeviceRounds::begin(DecodingBatch batch, const std::vector<CommitSchedule>& schedules,
                         std::int64_t steps) {
  Placed placed{.rows = rows_of(batch), .rules = {}, .bounds = {}};
  for (const CommitSchedule& s : schedules) {
    placed.rules.push_back(std::int32_t(s.rule));
    placed.bounds.push_back(s.bound);
  }
  const bool same = goes_on(batch, placed);
  first_step_ = same ? first_step_ + steps_ : 0;
  steps_ = steps;
  batch_ = std::move(batch);
  placed_ = std::move(placed);
  fetched_.reset();
  least_.clear();
  for (std::int64_t step = 0; step < steps; ++step)
    for (const CommitSchedule& s : schedules) least_.push_back(s.least[std::size_t(step)]);
  ops_.upload({{first(slots_.least, std::int64_t(least_.size())), tensor_of(least_)}});
  if (!same) place();
}

void DeviceRounds::place() {
  const std::int64_t canvases = batch_.canvases();
  const std::vector<std::int32_t> offsets(batch_.draw_offsets.begin(), batch_.draw_offsets.end()),
      none(std::size_t(batch_.draws()), -1), fine = {0};
  ops_.upload({{first(slots_.rows, std::int64_t(placed_.rows.size())), tensor_of(placed_.rows)},
               {first(slots_.offsets, canvases + 1), tensor_of(offsets)},
               {first(slots_.rules, canvases), tensor_of(placed_.rules)},
               {first(slots_.bounds, canvases), tensor_of(placed_.bounds)},
               {first(slots_.step, batch_.draws()), tensor_of(none)},
               {arena_[slots_.not_finite], tensor_of(fine)}});
  predictor_.place(batch_);  // after which all of that is copied
}

DeviceRounds::Record& DeviceRounds::record_of(const PassShape& shape) {
  const auto found = std::find_if(records_.begin(), records_.end(),
                                  [&](const Record& r) { return r.shape == shape; });
  if (found != records_.end()) {
    records_.splice(records_.begin(), records_, found);
  } else {
    records_.push_front({shape});
    if (records_.size() > kRecords) records_.pop_back();
  }
  return records_.front();
}

void DeviceRounds::step(std::int64_t number) {
  fetched_.reset();
  const std::int64_t draws = batch_.draws(), canvases = batch_.canvases();
  const auto rows = std::int64_t(placed_.rows.size());
  Record& record = record_of({std::int64_t(batch_.tokens.size()), draws, batch_.guided, canvases});
  const auto run = [&] { record.hidden = predictor_.model().run(); };
  if (predictor_.model().waits_for_device())
    run();
  else
    ops_.run_captured(record.graph, run);
  predictor_.draw(batch_, record.hidden, std::uint64_t(number));
  ops_.decide({predictor_.model().placed_tokens(), first(slots_.step, draws),
               first(slots_.probability, draws), arena_[slots_.not_finite]},
              predictor_.drawn(batch_),
              first(slots_.rows, rows).reshaped({draws ? rows / draws : 1, draws}),
              first(slots_.offsets, canvases + 1),
              {first(slots_.rules, canvases), first(slots_.bounds, canvases),
               arena_[slots_.least].row_range(number * canvases, canvases)},
              mask_token_, std::int32_t(first_step_ + number));
}

const RoundCommits& DeviceRounds::commits() {
  const std::int64_t draws = batch_.draws();
  commits_.tokens.resize(batch_.tokens.size());
  commits_.step.resize(std::size_t(draws));
  commits_.probability.resize(std::size_t(draws));
  std::vector<std::int32_t> not_finite(1);
  ops_.copy(tensor_of(commits_.tokens), predictor_.model().placed_tokens());
  ops_.copy(tensor_of(commits_.step), first(slots_.step, draws));
  ops_.copy(tensor_of(commits_.probability), first(slots_.probability, draws));
  ops_.copy(tensor_of(not_finite), arena_[slots_.not_finite]);
  ops_.synchronize();
  CHECK(not_finite[0] == 0, kNotFinite);
  for (std::int32_t& step : commits_.step) step -= std::int32_t(first_step_);
  fetched_ = predictor_.placements();
  return commits_;
}

}  // namespace lacuna
