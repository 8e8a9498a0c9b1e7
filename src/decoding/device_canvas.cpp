#include "decoding/device_canvas.h"

#include <algorithm>

namespace lacuna {
namespace {

template <class T>
Tensor view(const std::vector<T>& v) {
  return Tensor(const_cast<T*>(v.data()), {std::int64_t(v.size())});
}

}  // namespace

Plan DeviceCanvas::make_plan(const ModelLimits& limits, Slots& slots) {
  Plan plan;
  const std::int64_t M = limits.head_rows;
  slots.keys = plan.add("canvas/keys", {M}, DType::i64);
  slots.tokens = plan.add("canvas/drawn tokens", {M}, DType::i32);
  slots.confidence = plan.add("canvas/confidence", {M});
  slots.rows = plan.add("canvas/rows", {M}, DType::i32);
  slots.other_rows = plan.add("canvas/unconditional rows", {M}, DType::i32);
  slots.offsets = plan.add("canvas/offsets", {limits.sequences + 1}, DType::i32);
  // Every step fills something in some canvas of at least as many tokens as there are steps.
  slots.counts = plan.add("canvas/counts", {limits.rows}, DType::i32);
  slots.bad = plan.add("canvas/not finite", {1}, DType::i32);
  return plan;
}

Plan DeviceCanvas::plan(const ModelLimits& limits) {
  Slots slots;
  return make_plan(limits, slots);
}

DeviceCanvas::DeviceCanvas(Ops& ops, TokenPredictor& predictor, const ModelConfig& config,
                           const ModelLimits& limits)
    : ops_(ops),
      predictor_(predictor),
      mask_token_(std::int32_t(config.mask_token)),
      arena_(ops.memory(), make_plan(limits, slots_)) {}

void DeviceCanvas::begin(const CanvasBlock& block) {
  const auto rows = std::int64_t(block.tokens.size()), drawn = std::int64_t(block.keys.size());
  const auto canvases = std::int64_t(block.row_offsets.size()) - 1;
  // A record is of one shape.
  if (rows != rows_ || drawn != drawn_ || canvases != canvases_ || block.cfg_scale != cfg_scale_)
    forward_.reset();
  rows_ = rows;
  drawn_ = drawn;
  canvases_ = canvases;
  cfg_scale_ = block.cfg_scale;
  predictor_.model().place(view(block.tokens), block.sequences);
  const std::vector<std::int32_t> offsets(block.row_offsets.begin(), block.row_offsets.end());
  const Tensor head_rows = view(block.sequences.head_rows);
  ops_.copy(first(slots_.keys, drawn), view(block.keys));
  ops_.copy(first(slots_.rows, drawn), head_rows.row_range(0, drawn));
  if (cfg_scale_ > 0) ops_.copy(first(slots_.other_rows, drawn), head_rows.row_range(drawn, drawn));
  ops_.copy(first(slots_.offsets, canvases + 1), view(offsets));
  ops_.copy(first(slots_.counts, std::int64_t(block.counts.size())), view(block.counts));
  const std::vector<std::int32_t> fine = {0};
  ops_.copy(arena_[slots_.bad], view(fine));
  ops_.synchronize();
}

void DeviceCanvas::step(std::int64_t number, const SamplingParameters& parameters) {
  Model& model = predictor_.model();
  Head& head = predictor_.head();
  ops_.repeat(forward_, [&] { hidden_ = model.run(); });
  for (std::int64_t at = 0; at < drawn_; at += head.chunk_rows()) {
    const std::int64_t n = std::min(head.chunk_rows(), drawn_ - at);
    const Tensor logits = head.logits(hidden_.row_range(at, n));
    if (cfg_scale_ > 0)
      ops_.guide(logits, head.second_logits(hidden_.row_range(drawn_ + at, n)), float(cfg_scale_));
    ops_.sample_tokens(arena_[slots_.tokens].row_range(at, n),
                       arena_[slots_.confidence].row_range(at, n), logits,
                       arena_[slots_.keys].row_range(at, n), parameters);
  }
  const auto unmask = [&](Slot rows) {
    ops_.unmask(model.placed_tokens(), first(slots_.confidence, drawn_), arena_[slots_.bad],
                first(slots_.tokens, drawn_), first(rows, drawn_),
                first(slots_.offsets, canvases_ + 1),
                arena_[slots_.counts].row_range(number * canvases_, canvases_), mask_token_);
  };
  unmask(slots_.rows);
  // What is masked in one branch is masked in the other: the same rows are filled.
  if (cfg_scale_ > 0) unmask(slots_.other_rows);
}

const std::vector<std::int32_t>& DeviceCanvas::tokens() {
  tokens_.resize(std::size_t(cfg_scale_ > 0 ? rows_ / 2 : rows_));
  std::vector<std::int32_t> bad(1);
  const Tensor placed = predictor_.model().placed_tokens();
  ops_.copy(view(tokens_), placed.row_range(0, std::int64_t(tokens_.size())));
  ops_.copy(view(bad), arena_[slots_.bad]);
  ops_.synchronize();
  CHECK(bad[0] == 0, kNotFinite);
  return tokens_;
}

}  // namespace lacuna
