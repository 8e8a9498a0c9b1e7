#include "decoding/device_rounds.h"

#include <algorithm>

#include "core/tensor_of.h"

namespace lacuna {

Plan DeviceRounds::make_plan(const ModelLimits& limits, Slots& slots) {
  Plan plan;
  const std::int64_t M = limits.logit_rows;
  slots.rows = plan.add("decoding/rows", {M}, DType::i32);
  slots.other_rows = plan.add("decoding/unconditional rows", {M}, DType::i32);
  slots.offsets = plan.add("decoding/offsets", {limits.sequences + 1}, DType::i32);
  // Every step fills something in each canvas, which has at least as many tokens as there are
  // steps.
  slots.counts = plan.add("decoding/counts", {limits.rows}, DType::i32);
  slots.bad = plan.add("decoding/not finite", {1}, DType::i32);
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

void DeviceRounds::begin(const DecodingBatch& batch, const std::vector<std::int32_t>& counts) {
  const std::int64_t draws = batch.draws(), canvases = batch.canvases();
  const PassShape shape{std::int64_t(batch.tokens.size()), draws, batch.guided, canvases};
  if (shape != recorded_) forward_.reset();
  recorded_ = shape;
  batch_ = &batch;
  guided_canvases_ = batch.sequences.count() - canvases;
  const std::vector<std::int32_t> offsets(batch.draw_offsets.begin(), batch.draw_offsets.end());
  const Tensor logit_rows = tensor_of(batch.sequences.logit_rows);
  ops_.copy(first(slots_.rows, draws), logit_rows.row_range(0, draws));
  if (batch.guided > 0)
    ops_.copy(first(slots_.other_rows, batch.guided), logit_rows.row_range(draws, batch.guided));
  ops_.copy(first(slots_.offsets, canvases + 1), tensor_of(offsets));
  ops_.copy(first(slots_.counts, std::int64_t(counts.size())), tensor_of(counts));
  const std::vector<std::int32_t> fine = {0};
  ops_.copy(arena_[slots_.bad], tensor_of(fine));
  predictor_.place(batch);  // after which all of that is copied
}

void DeviceRounds::step(std::int64_t number) {
  ops_.run_captured(forward_, [&] { hidden_ = predictor_.model().run(); });
  predictor_.draw(*batch_, hidden_, std::uint64_t(number));
  unmask(slots_.rows, batch_->canvases(), number);
  // What is masked in one branch is masked in the other: the same rows are filled.
  if (batch_->guided > 0) unmask(slots_.other_rows, guided_canvases_, number);
}

void DeviceRounds::unmask(Slot rows, std::int64_t canvases, std::int64_t number) {
  const std::int64_t draws = batch_->draw_offsets[std::size_t(canvases)];
  ops_.unmask(predictor_.model().placed_tokens(), predictor_.confidence(draws), arena_[slots_.bad],
              predictor_.drawn_tokens(draws), first(rows, draws),
              first(slots_.offsets, canvases + 1),
              arena_[slots_.counts].row_range(number * batch_->canvases(), canvases), mask_token_);
}

const std::vector<std::int32_t>& DeviceRounds::tokens() {
  tokens_.resize(std::size_t(batch_->sequences.offsets[std::size_t(batch_->canvases())]));
  std::vector<std::int32_t> bad(1);
  const Tensor placed = predictor_.model().placed_tokens();
  ops_.copy(tensor_of(tokens_), placed.row_range(0, std::int64_t(tokens_.size())));
  ops_.copy(tensor_of(bad), arena_[slots_.bad]);
  ops_.synchronize();
  CHECK(bad[0] == 0, kNotFinite);
  return tokens_;
}

}  // namespace lacuna
