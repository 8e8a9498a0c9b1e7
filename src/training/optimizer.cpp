#include "training/optimizer.h"

#include <algorithm>
#include <cmath>

namespace lacuna {
namespace {

Plan scalar_plan(std::size_t sums) {
  Plan plan;
  plan.add("optimizer/sums_of_squares", {std::int64_t(std::max<std::size_t>(1, sums))}, DType::f64);
  plan.add("optimizer/clip_scale", {1}, DType::f32);
  return plan;
}

}  // namespace

bool decays(WeightKind kind, const OptimizerConfig& config) {
  switch (kind) {
    case WeightKind::matrix:
      return true;
    case WeightKind::norm:
      return config.decay_norms;
    case WeightKind::embedding:
      return config.decay_embeddings;
  }
  fail("unknown kind of weight");
}

Optimizer::Optimizer(Ops& ops, const OptimizerConfig& config, const ModelTensors& weights)
    : Optimizer(ops, config, weights,
                {{{0, weights.flat().count()}}, {{0, weights.flat().count()}}, nullptr}) {}

Optimizer::Optimizer(Ops& ops, const OptimizerConfig& config, const ModelTensors& weights,
                     UpdateShare share)
    : ops_(ops),
      config_(config),
      weights_(weights),
      share_(std::move(share)),
      own_weights_(weights, share_.updated),
      first_(ops.memory(), weights, share_.updated, "first moment"),
      second_(ops.memory(), weights, share_.updated, "second moment"),
      scalars_(ops.memory(), scalar_plan(share_.counted.size())),
      sums_(scalars_[Slot{0}]),
      scale_(scalars_[Slot{1}]) {
  if (weights.embedding.dtype != DType::f32)
    master_.emplace(ops.memory(), weights, share_.updated, "master weights");
}

void Optimizer::round_master() {
  if (!master_) return;
  for (std::size_t i = 0; i < own_weights_.pieces().size(); ++i)
    ops_.copy(own_weights_.pieces()[i].values, master_->pieces()[i].values);
}

std::int64_t Optimizer::bytes() const {
  return first_.flat().bytes() + second_.flat().bytes() + (master_ ? master_->flat().bytes() : 0);
}

double Optimizer::gradient_norm(const ModelTensors& gradients) {
  const Tensor first = sums_.row_range(0, 1);
  const auto ranges = std::int64_t(share_.counted.size());
  for (std::int64_t i = 0; i < ranges; ++i) {
    const FlatRange& range = share_.counted[std::size_t(i)];
    ops_.sum_of_squares(sums_.row_range(i, 1), gradients.flat().row_range(range.begin, range.size));
  }
  std::vector<double> sums(std::size_t(sums_.count()));
  ops_.copy(Tensor(sums.data(), sums_.shape), sums_);
  ops_.synchronize();
  double sum = 0;
  for (std::int64_t i = 0; i < ranges; ++i) sum += sums[std::size_t(i)];
  if (share_.ranks) sum = reduced(*share_.ranks, sum);
  ops_.copy(first, Tensor(&sum, {1}));
  ops_.clip_scale(scale_, first, float(config_.clip_norm));
  ops_.synchronize();  // `sum` goes
  return std::sqrt(sum);
}

void Optimizer::update(const ModelTensors& gradients, double learning_rate, std::int64_t number) {
  AdamWParameters p{.learning_rate = learning_rate,
                    .beta1 = config_.beta1,
                    .beta2 = config_.beta2,
                    .eps = config_.eps,
                    .weight_decay = 0,
                    .step = number};
  for (std::size_t i = 0; i < master().pieces().size(); ++i) {
    const WeightPiece& w = master().pieces()[i];
    const Tensor gradient = gradients.named()[w.weight].tensor;
    p.weight_decay = decays(weights_.named()[w.weight].kind, config_) ? config_.weight_decay : 0;
    ops_.adamw(w.values, first_.pieces()[i].values, second_.pieces()[i].values,
               gradient.reshaped({gradient.count()}).row_range(w.first, w.values.count()), scale_,
               p);
  }
  round_master();
}

}  // namespace lacuna
