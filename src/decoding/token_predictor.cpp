#include "decoding/token_predictor.h"

#include <algorithm>
#include <cmath>

#include "model/activations.h"

namespace lacuna {
namespace {

constexpr int kPositionBits = 20;

std::int64_t chunk_of(const ModelConfig& config, const ModelLimits& limits, DType dtype,
                      Place place) {
  return std::min(head_chunk_rows(config, dtype, place), limits.head_rows);
}

template <class T>
Tensor view(const std::vector<T>& v) {
  return Tensor(const_cast<T*>(v.data()), {std::int64_t(v.size())});
}

}  // namespace

std::int64_t noise_key(std::int64_t sample, std::int64_t position) {
  CHECK(position < std::int64_t{1} << kPositionBits, "position ", position,
        " of a text; at most 2^", kPositionBits, " can be sampled");
  return sample << kPositionBits | position;
}

Plan TokenPredictor::make_plan(const ModelLimits& limits, Slots& slots) {
  Plan plan;
  slots.inputs = plan.add("sampler/inputs", {limits.rows}, DType::i32);
  slots.keys = plan.add("sampler/keys", {limits.head_rows}, DType::i64);
  slots.tokens = plan.add("sampler/tokens", {limits.head_rows}, DType::i32);
  slots.confidence = plan.add("sampler/confidence", {limits.head_rows});
  return plan;
}

TokenPredictor::TokenPredictor(Ops& ops, const ModelConfig& config, const ModelTensors& weights,
                               const ModelLimits& limits, Communicator* shares)
    : ops_(ops),
      model_(ops, config, weights, limits, shares),
      head_(ops, config, weights, chunk_of(config, limits, weights.head.dtype, ops.place()), shares,
            HeadUse::logits),
      arena_(ops.memory(), make_plan(limits, slots_)) {}

std::int64_t TokenPredictor::bytes(const ModelConfig& config, const ModelLimits& limits,
                                   DType dtype, Place place, ModelShare share) {
  const std::int64_t chunk = chunk_of(config, limits, dtype, place);
  Slots slots;
  std::int64_t sum = Activations::plan(config, limits, dtype, share).bytes() +
                     Head::plan(config, chunk, dtype, share, HeadUse::logits).bytes() +
                     make_plan(limits, slots).bytes();
  if (share.count > 1) sum += SharedLogits::plan(config, chunk, dtype, share.count).bytes();
  return sum;
}

TokenPredictor::Draws TokenPredictor::predict(const std::vector<std::int32_t>& tokens,
                                              const Sequences& sequences,
                                              const std::vector<std::int64_t>& row_keys,
                                              const SamplingParameters& parameters,
                                              double cfg_scale) {
  const auto M = std::int64_t(row_keys.size());
  const bool guided = cfg_scale > 0;
  CHECK(std::int64_t(sequences.head_rows.size()) == (guided ? 2 * M : M), "draws at ", M,
        " rows from ", sequences.head_rows.size(), " rows of logits");
  tokens_.resize(std::size_t(M));
  confidence_.resize(std::size_t(M));
  if (M == 0) return {tokens_, confidence_};
  const Tensor inputs = arena_[slots_.inputs].row_range(0, std::int64_t(tokens.size()));
  ops_.copy(inputs, view(tokens));
  ops_.copy(arena_[slots_.keys].row_range(0, M), view(row_keys));
  const Tensor hidden = model_.forward(inputs, sequences);
  for (std::int64_t at = 0; at < M; at += head_.chunk_rows()) {
    const std::int64_t n = std::min(head_.chunk_rows(), M - at);
    const Tensor logits = head_.logits(hidden.row_range(at, n));
    if (guided)
      ops_.guide(logits, head_.second_logits(hidden.row_range(M + at, n)), float(cfg_scale));
    ops_.sample_tokens(arena_[slots_.tokens].row_range(at, n),
                       arena_[slots_.confidence].row_range(at, n), logits,
                       arena_[slots_.keys].row_range(at, n), parameters);
  }
  ops_.copy(view(tokens_), arena_[slots_.tokens].row_range(0, M));
  ops_.copy(view(confidence_), arena_[slots_.confidence].row_range(0, M));
  ops_.synchronize();
  for (const float c : confidence_) CHECK(std::isfinite(c), kNotFinite);
  return {tokens_, confidence_};
}

}  // namespace lacuna
