#include "decoding/token_predictor.h"

#include <algorithm>
#include <cmath>

#include "core/tensor_of.h"
#include "model/activations.h"

namespace lacuna {
namespace {

constexpr std::int64_t kBiasRows = 16;  // at a time

std::int64_t chunk_of(const ModelConfig& config, const ModelLimits& limits, DType dtype,
                      Place place) {
  return std::min(head_chunk_rows(config, dtype, place), limits.logit_rows);
}

}  // namespace

Plan TokenPredictor::make_plan(const ModelLimits& limits, Slots& slots) {
  const std::int64_t M = limits.logit_rows;
  Plan plan;
  slots.keys = plan.add("decoding/keys", {M}, DType::i64);
  slots.current = plan.add("decoding/current", {M}, DType::i32);
  slots.tokens = plan.add("decoding/tokens", {M}, DType::i32);
  slots.confidence = plan.add("decoding/confidence", {M});
  slots.best = plan.add("decoding/best", {M}, DType::i32);
  slots.first = plan.add("decoding/first", {M});
  slots.second = plan.add("decoding/second", {M});
  slots.entropy = plan.add("decoding/entropy", {M});
  slots.p_current = plan.add("decoding/p_current", {M});
  return plan;
}

TokenPredictor::TokenPredictor(Ops& ops, const ModelConfig& config, const ModelWeights& weights,
                               const ModelLimits& limits, Communicator* shares)
    : ops_(ops),
      model_(ops, config, weights, limits, shares),
      head_(ops, config, weights, chunk_of(config, limits, weights.dtype, ops.place()), shares,
            HeadUse::logits),
      arena_(ops.memory(), make_plan(limits, slots_)) {}

std::int64_t TokenPredictor::bytes(const ModelConfig& config, const ModelLimits& limits,
                                   DType dtype, Place place, TensorParallelShard share) {
  const std::int64_t chunk = chunk_of(config, limits, dtype, place);
  Slots slots;
  std::int64_t sum = Activations::plan(config, limits, dtype, share).bytes() +
                     Head::plan(config, chunk, dtype, share, HeadUse::logits).bytes() +
                     make_plan(limits, slots).bytes();
  if (share.count > 1) sum += VocabParallelLogits::plan(config, chunk, dtype, share.count).bytes();
  return sum;
}

void TokenPredictor::place_rows(const DecodingBatch& batch) {
  ++placements_;
  model_.place(tensor_of(batch.tokens), batch.sequences);
  ops_.upload({{arena_[slots_.keys].row_range(0, batch.draws()), tensor_of(batch.keys)},
               {arena_[slots_.current].row_range(0, batch.draws()), tensor_of(batch.current)}});
}

void TokenPredictor::place(const DecodingBatch& batch) {
  place_rows(batch);
  ops_.synchronize();
}

void TokenPredictor::draw(const DecodingBatch& batch, Tensor hidden, std::uint64_t later) {
  std::int64_t guided = 0;
  for (std::int64_t at = 0; at < batch.draws(); at += head_.chunk_rows())
    guided += draw_chunk(batch, hidden, at, std::min(head_.chunk_rows(), batch.draws() - at),
                         guided, later);
}

RowStats TokenPredictor::stats(const WantedStatistics& wanted, std::int64_t at,
                               std::int64_t n) const {
  const auto rows = [&](Slot slot) { return arena_[slot].row_range(at, n); };
  RowStats stats{.draw = rows(slots_.tokens), .p_draw = rows(slots_.confidence)};
  if (wanted.best) {
    stats.argmax = rows(slots_.best);
    stats.p_first = rows(slots_.first);
    stats.p_second = rows(slots_.second);
  }
  if (wanted.entropy) stats.entropy = rows(slots_.entropy);
  if (wanted.current) stats.p_current = rows(slots_.p_current);
  return stats;
}

std::int64_t TokenPredictor::draw_chunk(const DecodingBatch& batch, Tensor hidden, std::int64_t at,
                                        std::int64_t n, std::int64_t guided, std::uint64_t later) {
  const Tensor logits = head_.logits(hidden.row_range(at, n));
  struct Part {
    std::int64_t begin, rows;
    const DrawRun* run;
  };
  std::vector<Part> parts;
  std::int64_t begin = at, own_guided = 0;
  for (const DrawRun& run : batch.runs) {
    const std::int64_t rows = std::min(run.end, at + n) - begin;
    if (rows <= 0) continue;
    parts.push_back({begin, rows, &run});
    if (run.cfg_scale > 0) own_guided += rows;
    begin += rows;
  }
  Tensor unconditional;
  if (own_guided > 0)
    unconditional = head_.second_logits(hidden.row_range(batch.draws() + guided, own_guided));
  std::int64_t guided_before = 0;
  for (const Part& part : parts) {
    const Tensor own = logits.row_range(part.begin - at, part.rows);
    if (part.run->cfg_scale > 0) {
      ops_.apply_cfg(own, unconditional.row_range(guided_before, part.rows),
                     float(part.run->cfg_scale));
      guided_before += part.rows;
    }
    if (!batch.biases.empty()) add_biases(batch, part.begin, own);
    SamplingParameters parameters = part.run->parameters;
    parameters.step += later;
    ops_.row_stats(
        stats(batch.wanted, part.begin, part.rows), own,
        arena_[slots_.keys].row_range(part.begin, part.rows),
        batch.wanted.current ? arena_[slots_.current].row_range(part.begin, part.rows) : Tensor(),
        parameters);
  }
  return own_guided;
}

void TokenPredictor::add_biases(const DecodingBatch& batch, std::int64_t first, Tensor logits) {
  const std::int64_t rows = logits.rows(), vocab = logits.cols();
  if (!biases_) {
    Plan plan;
    bias_rows_ = plan.add("decoding/biases", {kBiasRows, vocab}, DType::bf16);
    biases_.emplace(ops_.memory(), plan);
    placed_biases_.resize(kBiasRows);
  }
  const Tensor placed = (*biases_)[bias_rows_];
  const auto bias = [&](std::int64_t row) -> const TokenBias& {
    return batch.biases[std::size_t(first + row)];
  };
  for (std::int64_t begin = 0; begin < rows;) {
    std::int64_t n = 0;
    for (; n < kBiasRows && begin + n < rows && bias(begin + n); ++n) {
      TokenBias& there = placed_biases_[std::size_t(n)];
      if (there == bias(begin + n)) continue;
      ops_.copy(placed.row_range(n, 1), tensor_of(*bias(begin + n)).reshaped({1, vocab}));
      there = bias(begin + n);
    }
    if (n > 0) ops_.add(logits.row_range(begin, n), placed.row_range(0, n));
    begin += std::max<std::int64_t>(1, n);
  }
}

RowStatistics TokenPredictor::predict(const DecodingBatch& batch) {
  const std::int64_t M = batch.draws();
  place_rows(batch);
  draw(batch, model_.run());
  const auto fetch = [&](auto& to, Slot slot, bool wanted) {
    to.resize(wanted ? std::size_t(M) : 0);
    if (wanted) ops_.copy(tensor_of(to), arena_[slot].row_range(0, M));
  };
  const WantedStatistics& w = batch.wanted;
  fetch(host_.tokens, slots_.tokens, true);
  fetch(host_.confidence, slots_.confidence, true);
  fetch(host_.best, slots_.best, w.best);
  fetch(host_.first, slots_.first, w.best);
  fetch(host_.second, slots_.second, w.best);
  fetch(host_.entropy, slots_.entropy, w.entropy);
  fetch(host_.current, slots_.p_current, w.current);
  ops_.synchronize();
  for (const float c : host_.confidence) CHECK(std::isfinite(c), kNotFinite);
  return {host_.tokens, host_.confidence, host_.best,   host_.first,
          host_.second, host_.entropy,    host_.current};
}

}  // namespace lacuna
