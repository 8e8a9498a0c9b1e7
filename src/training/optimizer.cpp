#include "training/optimizer.h"

#include <cmath>

namespace lacuna {
namespace {

Plan scalar_plan() {
  Plan plan;
  plan.add("optimizer/sum_of_squares", {1}, DType::f64);
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

Optimizer::Optimizer(Ops& ops, const ModelConfig& model, const OptimizerConfig& config,
                     const ModelTensors& weights)
    : ops_(ops),
      config_(config),
      weights_(weights),
      first_(ops.memory(), model, "first moment"),
      second_(ops.memory(), model, "second moment"),
      scalars_(ops.memory(), scalar_plan()),
      sum_(scalars_[Slot{0}]),
      scale_(scalars_[Slot{1}]) {
  if (weights.embedding.dtype != DType::f32) master_.emplace(ops.memory(), model, "master weights");
}

void Optimizer::round_master() {
  if (!master_) return;
  for (std::size_t i = 0; i < weights_.named().size(); ++i)
    ops_.copy(weights_.named()[i].tensor, master_->named()[i].tensor);
}

std::int64_t Optimizer::bytes() const {
  return first_.flat().bytes() + second_.flat().bytes() + (master_ ? master_->flat().bytes() : 0);
}

double Optimizer::gradient_norm(const ModelTensors& gradients) {
  ops_.sum_of_squares(sum_, gradients.flat());
  ops_.clip_scale(scale_, sum_, float(config_.clip_norm));
  double sum = 0;
  ops_.copy(Tensor(&sum, {1}), sum_);
  ops_.synchronize();
  return std::sqrt(sum);
}

void Optimizer::update(const ModelTensors& gradients, double learning_rate, std::int64_t number) {
  AdamWParameters p{.learning_rate = learning_rate,
                    .beta1 = config_.beta1,
                    .beta2 = config_.beta2,
                    .eps = config_.eps,
                    .weight_decay = 0,
                    .step = number};
  for (std::size_t i = 0; i < master().named().size(); ++i) {
    const NamedWeight& w = master().named()[i];
    p.weight_decay = decays(w.kind, config_) ? config_.weight_decay : 0;
    ops_.adamw(w.tensor, first_.named()[i].tensor, second_.named()[i].tensor,
               gradients.named()[i].tensor, scale_, p);
  }
  round_master();
}

}  // namespace lacuna
