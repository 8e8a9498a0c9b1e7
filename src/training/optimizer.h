#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "comm/communicator.h"
#include "config/config.h"
#include "kernels/ops.h"
#include "model/weights.h"
#include "training/gradient_norm.h"
#include "training/optimizer_shard.h"

namespace lacuna {

/// Whether a weight decays: matrices do (the untied head among them); norms and embeddings (a tied
/// one is also the head) only when optimizer.decay_norms and decay_embeddings say so.
bool decays(WeightKind kind, const OptimizerConfig& config);

/// A rank's part in an update, in ranges of ModelTensors::flat().
struct ShardRanges {
  std::vector<FlatRange> updated;  // which weights it updates
  std::vector<FlatRange> counted;  // whose gradients it counts in the global norm
  Communicator* ranks = nullptr;   // the group that sums the norm; null: none
};

/// AdamW with decoupled decay (arXiv:1711.05101, algorithm 2; Ops::adamw) over a model's weights,
/// clipped by the global norm of all gradients together (arXiv:1211.5063). Owns the two moments, of
/// optimizer.moments_dtype, zero at first; and, if the weights are bf16, their f32 masters, which
/// it updates and then rounds (arXiv:1710.03740, section 3.1).
class Optimizer {
 public:
  /// Borrows `weights`. Gradients may be of either type. Alone, or as one of several ranks.
  Optimizer(Ops& ops, const OptimizerConfig& config, const ModelTensors& weights);
  /// `seed` of the rounding of bf16 moments, which is the same however states are sharded.
  Optimizer(Ops& ops, const OptimizerConfig& config, const ModelTensors& weights, ShardRanges share,
            std::uint64_t seed = 0);

  /// Measures the gradients: what the next update() scales by is min(1, clip_norm / norm).
  /// Queued, like update(): the norm stays on the device, without host synchronisation.
  void measure(const OptimizerShard& gradients);
  /// One update from the gradients last measured. `number` counts updates from 1, for the bias
  /// correction. Changes nothing when their norm is not finite.
  void update(const OptimizerShard& gradients, double learning_rate, std::int64_t number);
  /// Of the gradients last measured: sqrt of the sum of the squares of all of them on all ranks,
  /// before clipping; NaN or infinite when one of them is. The same on every rank. Waits.
  double gradient_norm() const { return norm_.value(); }

  /// The f32 weights that this rank's updates add up in: the model's own, or their masters. Who
  /// writes them calls cast_master_weights() next.
  const OptimizerShard& master() const { return master_ ? *master_ : own_weights_; }
  bool has_master() const { return master_.has_value(); }
  /// The model's weights = the masters, rounded. Nothing where they are one.
  void cast_master_weights();
  /// Of the moments and masters.
  std::int64_t bytes() const;

  /// Of the same pieces.
  const OptimizerShard& first_moment() const { return first_; }
  const OptimizerShard& second_moment() const { return second_; }

 private:
  Ops& ops_;
  const OptimizerConfig config_;
  const ModelTensors& weights_;
  const ShardRanges share_;
  const std::uint64_t seed_;
  const OptimizerShard own_weights_;  // those of the model's that are updated
  std::optional<OptimizerShard> master_;
  OptimizerShard first_, second_;
  std::vector<ElementNumbers> numbers_;  // of each piece
  GradientNorm norm_;
};

}  // namespace lacuna
