#include "training/optimizer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "config/dtype.h"

namespace lacuna {
namespace {

constexpr std::int64_t kStaged = std::int64_t{16} << 20;  // elements at a time, at most
constexpr std::int64_t kSwapped = std::int64_t{1} << 20;  // elements at a time, at most

/// Of the largest of those ranges, but at most `most`.
Shape part_of_largest(const std::vector<FlatRange>& ranges, std::int64_t most) {
  std::int64_t largest = 0;
  for (const FlatRange& range : ranges) largest = std::max(largest, range.size);
  return {std::min(largest, most)};
}

/// For exchanging the average with the weights.
Plan swap_plan(const std::vector<FlatRange>& updated) {
  Plan plan;
  plan.add("weight average/exchanged", part_of_largest(updated, kSwapped));
  return plan;
}

/// For copies between a device and main memory.
Plan staging_plan(const std::vector<FlatRange>& updated, DType weights) {
  Plan plan;
  plan.add("optimizer staging/gradients", part_of_largest(updated, kStaged));
  plan.add("optimizer staging/weights", part_of_largest(updated, kStaged), weights);
  return plan;
}

/// What of `updated` AdamW updates. With its alignment gaps, where that is all.
std::vector<FlatRange> adamw_ranges(const OptimizerConfig& config, const ModelTensors& weights,
                                    const std::vector<FlatRange>& updated) {
  if (config.name == OptimizerName::adamw) return updated;
  std::vector<FlatRange> others;
  for (const NamedWeight& w : weights.named())
    if (!is_updated_by_muon(*w.spec)) others.push_back({w.flat, w.tensor.count()});
  return intersection(updated, others);
}

}  // namespace

bool decays(WeightKind kind, const OptimizerConfig& config) {
  switch (kind) {
    case WeightKind::matrix:
      return true;
    case WeightKind::bias:
      return false;
    case WeightKind::norm:
      return config.decay_norms;
    case WeightKind::embedding:
      return config.decay_embeddings;
  }
  fail("unknown kind of weight");
}

Optimizer::Optimizer(Ops& ops, const OptimizerConfig& config, const ModelTensors& weights)
    : Optimizer(
          ops, config, weights,
          {.updated = {{0, weights.flat().count()}}, .counted = {{0, weights.flat().count()}}}) {}

Optimizer::Optimizer(Ops& ops, const OptimizerConfig& config, const ModelTensors& weights,
                     ShardRanges share, std::uint64_t seed, Ops* host)
    : ops_(ops),
      state_ops_(host ? *host : ops),
      config_(config),
      weights_(weights),
      share_(std::move(share)),
      seed_(seed),
      own_weights_(share_.weights ? *share_.weights : OptimizerShard(weights, share_.updated)),
      first_(state_ops_.memory(), weights, share_.updated, "first moment",
             type_of(config.moments_dtype)),
      second_(state_ops_.memory(), weights, adamw_ranges(config, weights, share_.updated),
              "second moment", type_of(config.moments_dtype)),
      numbers_(numbers_of(weights, second_.pieces())),
      norm_(ops, config.clip_norm, "optimizer") {
  Memory& memory = state_ops_.memory();
  if (rounds_weights() || is_offloaded())
    master_.emplace(memory, weights, share_.updated, "master weights");
  if (is_offloaded())
    staging_ = std::make_unique<Arena>(memory, staging_plan(share_.updated, weights.dtype()));
  if (config.ema_decay > 0) {
    average_.emplace(memory, weights, share_.updated, "weight average");
    swapped_ = std::make_unique<Arena>(memory, swap_plan(share_.updated));
  }
  if (config.name == OptimizerName::muon)
    muon_ = std::make_unique<Muon>(ops, config, weights, first_,
                                   MuonRanks{share_.ranks, share_.holders});
}

void Optimizer::cast_master_weights() {
  if (!master_) return;
  for (std::size_t i = 0; i < own_weights_.pieces().size(); ++i)
    ops_.copy(own_weights_.pieces()[i].values, master_->pieces()[i].values);
}

std::int64_t Optimizer::bytes() const {
  return first_.flat().bytes() + second_.flat().bytes() + (master_ ? master_->flat().bytes() : 0) +
         (average_ ? average_->flat().bytes() + swapped_->plan().bytes() : 0) +
         (staging_ ? staging_->plan().bytes() : 0) + (muon_ ? muon_->bytes() : 0);
}

std::int64_t Optimizer::planned_bytes(const OptimizerConfig& config, const WeightLayout& weights,
                                      DType dtype, FlatLayout layout,
                                      const std::vector<FlatRange>& updated, bool alone,
                                      bool holds_parts) {
  const DType moments = type_of(config.moments_dtype);
  std::vector<FlatRange> adamw = updated;
  std::int64_t bytes = OptimizerShard::plan(updated, "moment", moments).bytes();
  if (config.name == OptimizerName::muon) {
    adamw =
        intersection(updated, ModelTensors::ranges_of(weights, layout, [](const WeightSpec& spec) {
                       return !is_updated_by_muon(spec);
                     }));
    bytes += Muon::planned_bytes(weights, dtype, layout, updated, alone, holds_parts);
  }
  bytes += OptimizerShard::plan(adamw, "moment", moments).bytes();
  if (dtype != DType::f32 || config.cpu_offload)
    bytes += OptimizerShard::plan(updated, "master").bytes();
  if (config.cpu_offload) bytes += staging_plan(updated, dtype).bytes();
  if (config.ema_decay > 0)
    bytes += OptimizerShard::plan(updated, "average").bytes() + swap_plan(updated).bytes();
  return bytes;
}

bool Optimizer::has_second_moment(const NamedWeight& weight) const {
  return !muon_ || !is_updated_by_muon(*weight.spec);
}

void Optimizer::begin_average() {
  if (!average_) return;
  for (std::size_t i = 0; i < average_->pieces().size(); ++i)
    state_ops_.copy(average_->pieces()[i].values, master().pieces()[i].values);
}

void Optimizer::swap_average() {
  if (!average_) return;
  const Tensor kept = (*swapped_)[Slot{0}];
  for (std::size_t i = 0; i < average_->pieces().size(); ++i) {
    const Tensor& average = average_->pieces()[i].values;
    for (std::int64_t at = 0; at < average.count(); at += kept.count()) {
      const std::int64_t n = std::min(kept.count(), average.count() - at);
      const Tensor a = average.row_range(at, n), w = master().pieces()[i].values.row_range(at, n),
                   k = kept.row_range(0, n);
      state_ops_.copy(k, w);
      state_ops_.copy(w, a);
      state_ops_.copy(a, k);
    }
  }
  cast_master_weights();
}

void Optimizer::update_average(std::int64_t number) {
  const double decay = std::min(config_.ema_decay, double(1 + number) / double(10 + number));
  for (std::size_t i = 0; i < average_->pieces().size(); ++i)
    state_ops_.axpby(average_->pieces()[i].values, float(1 - decay), master().pieces()[i].values,
                     float(decay));
}

void Optimizer::measure(const OptimizerShard& gradients, Tensor check) {
  std::vector<Tensor> counted;
  for (const FlatRange& range : share_.counted) counted.push_back(gradients.elements(range));
  norm_.measure(counted, 1, share_.ranks, check);
}

void Optimizer::update(const OptimizerShard& gradients, double learning_rate, std::int64_t number) {
  // AdamW finds out on the device, without waiting for the norm.
  if (needs_finite_norm() && !norm_.is_finite()) return;
  update_with_adamw(gradients, learning_rate, number);
  if (muon_) {
    const double factor =
        config_.muon_learning_rate > 0 ? config_.muon_learning_rate / config_.learning_rate : 1;
    muon_->update(gradients, master(), norm_.scale(), factor * learning_rate);
    cast_master_weights();
  }
  if (average_) update_average(number);
}

void Optimizer::update_with_adamw(const OptimizerShard& gradients, double learning_rate,
                                  std::int64_t number) {
  std::vector<AdamWPiece> pieces;
  for (std::size_t i = 0; i < second_.pieces().size(); ++i) {
    const WeightPiece& v = second_.pieces()[i];
    const FlatRange place = second_.place(i);
    pieces.push_back({.w = master().elements(place),
                      .m = first_.elements(place),
                      .v = v.values,
                      .g = gradients.elements(place),
                      .rounded = master_ ? own_weights_.elements(place) : Tensor(),
                      .decays = decays(weights_.named()[v.weight].kind(), config_),
                      .numbers = numbers_[i]});
  }
  if (pieces.empty()) return;
  const AdamWParameters parameters{.learning_rate = learning_rate,
                                   .beta1 = config_.beta1,
                                   .beta2 = config_.beta2,
                                   .eps = config_.eps,
                                   .weight_decay = config_.weight_decay,
                                   .step = number,
                                   .seed = seed_};
  if (is_offloaded())
    update_on_host(pieces, parameters);
  else
    ops_.adamw(pieces, norm_.scale(), parameters);
}

void Optimizer::update_on_host(const std::vector<AdamWPiece>& pieces,
                               const AdamWParameters& parameters) {
  float factor = 0;
  const Tensor scale(&factor, Shape{1});
  ops_.copy(scale, norm_.scale());
  ops_.synchronize();
  const Tensor gradients = (*staging_)[Slot{0}], weights = (*staging_)[Slot{1}];
  for (const AdamWPiece& piece : pieces)
    for (std::int64_t at = 0; at < piece.w.count(); at += gradients.count()) {
      const std::int64_t n = std::min(gradients.count(), piece.w.count() - at);
      const auto part = [&](const Tensor& t) { return t.row_range(at, n); };
      AdamWPiece here{.w = part(piece.w),
                      .m = part(piece.m),
                      .v = part(piece.v),
                      .g = gradients.row_range(0, n),
                      .rounded = rounds_weights() ? weights.row_range(0, n) : Tensor(),
                      .decays = piece.decays,
                      .numbers = piece.numbers};
      here.numbers.first += at;
      ops_.copy(here.g, part(piece.g));
      ops_.synchronize();
      state_ops_.adamw({here}, scale, parameters);
      state_ops_.synchronize();
      ops_.copy(part(piece.rounded), rounds_weights() ? here.rounded : here.w);
      ops_.synchronize();  // the staging memory is written again
    }
}

}  // namespace lacuna
