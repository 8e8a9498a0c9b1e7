#pragma once
#include <cstdint>

#include "config/config.h"
#include "core/arena.h"
#include "kernels/ops.h"
#include "model/weights.h"

namespace lacuna {

/// Whether a weight decays: matrices do (the untied head among them); norms and embeddings (a tied
/// one is also the head) only when optimizer.decay_norms and decay_embeddings say so.
bool decays(WeightKind kind, const OptimizerConfig& config);

/// AdamW with decoupled decay (arXiv:1711.05101, algorithm 2; Ops::adamw) over a model's weights,
/// clipped by the global norm of all gradients together (arXiv:1211.5063). Owns the two moments,
/// f32, zero at first.
class Optimizer {
 public:
  /// Borrows `weights`, which must be f32.
  Optimizer(Ops& ops, const ModelConfig& model, const OptimizerConfig& config,
            const ModelTensors& weights);

  /// sqrt of the sum of the squares of every gradient, before clipping; NaN or infinite when one of
  /// them is. Also what the next update() scales by: min(1, clip_norm / norm).
  double gradient_norm(const ModelTensors& gradients);
  /// One update from the gradients last given to gradient_norm(). `number` counts updates from 1,
  /// for the bias correction. Changes nothing when the norm was not finite.
  void update(const ModelTensors& gradients, double learning_rate, std::int64_t number);

  const ModelTensors& first_moment() const { return first_; }
  const ModelTensors& second_moment() const { return second_; }

 private:
  Ops& ops_;
  const OptimizerConfig config_;
  const ModelTensors& weights_;
  ModelTensors first_, second_;
  Arena scalars_;
  Tensor sum_, scale_;
};

}  // namespace lacuna
