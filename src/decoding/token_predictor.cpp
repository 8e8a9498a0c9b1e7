#include "decoding/token_predictor.h"

#include <algorithm>
#include <cmath>

#include "core/tensor_of.h"
#include "model/activations.h"

namespace lacuna {
namespace {

std::int64_t chunk_of(const ModelConfig& config, const ModelLimits& limits, DType dtype,
                      Place place) {
  return std::min(head_chunk_rows(config, dtype, place), limits.logit_rows);
}

}  // namespace

Plan TokenPredictor::make_plan(const ModelLimits& limits, Slots& slots) {
  Plan plan;
  slots.keys = plan.add("decoding/keys", {limits.logit_rows}, DType::i64);
  slots.tokens = plan.add("decoding/tokens", {limits.logit_rows}, DType::i32);
  slots.confidence = plan.add("decoding/confidence", {limits.logit_rows});
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
  model_.place(tensor_of(batch.tokens), batch.sequences);
  ops_.copy(arena_[slots_.keys].row_range(0, batch.draws()), tensor_of(batch.keys));
}

void TokenPredictor::place(const DecodingBatch& batch) {
  place_rows(batch);
  ops_.synchronize();
}

void TokenPredictor::draw(const DecodingBatch& batch, Tensor hidden, std::uint64_t later) {
  for (std::int64_t at = 0; at < batch.draws(); at += head_.chunk_rows())
    draw_chunk(batch, hidden, at, std::min(head_.chunk_rows(), batch.draws() - at), later);
}

void TokenPredictor::draw_chunk(const DecodingBatch& batch, Tensor hidden, std::int64_t at,
                                std::int64_t n, std::uint64_t later) {
  const Tensor logits = head_.logits(hidden.row_range(at, n));
  const std::int64_t guided = std::clamp<std::int64_t>(batch.guided - at, 0, n);
  Tensor unconditional;
  if (guided > 0) unconditional = head_.second_logits(hidden.row_range(batch.draws() + at, guided));
  std::int64_t begin = at;
  for (const DrawRun& run : batch.runs) {
    const std::int64_t rows = std::min(run.end, at + n) - begin;
    if (rows <= 0) continue;
    const Tensor own = logits.row_range(begin - at, rows);
    if (run.cfg_scale > 0)
      ops_.apply_cfg(own, unconditional.row_range(begin - at, rows), float(run.cfg_scale));
    SamplingParameters parameters = run.parameters;
    parameters.step += later;
    RowStats stats;
    stats.draw = arena_[slots_.tokens].row_range(begin, rows);
    stats.p_draw = arena_[slots_.confidence].row_range(begin, rows);
    ops_.row_stats(stats, own, arena_[slots_.keys].row_range(begin, rows), Tensor(), parameters);
    begin += rows;
  }
}

Draws TokenPredictor::predict(const DecodingBatch& batch) {
  const std::int64_t M = batch.draws();
  tokens_.resize(std::size_t(M));
  confidence_.resize(std::size_t(M));
  if (M == 0) return {tokens_, confidence_};
  place_rows(batch);
  draw(batch, model_.run());
  ops_.copy(tensor_of(tokens_), drawn_tokens(M));
  ops_.copy(tensor_of(confidence_), confidence(M));
  ops_.synchronize();
  for (const float c : confidence_) CHECK(std::isfinite(c), kNotFinite);
  return {tokens_, confidence_};
}

}  // namespace lacuna
