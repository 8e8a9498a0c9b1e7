#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "comm/communicator.h"
#include "config/config.h"
#include "kernels/ops.h"
#include "model/weights.h"
#include "training/gradient_norm.h"
#include "training/muon.h"
#include "training/optimizer_shard.h"

namespace lacuna {

/// Whether a weight decays: matrices do (the untied head among them); norms and embeddings (a tied
/// one is also the head) only when optimizer.decay_norms and decay_embeddings say so.
bool decays(WeightKind kind, const OptimizerConfig& config);

/// A rank's part in an update, in ranges of ModelTensors::flat().
struct ShardRanges {
  std::vector<FlatRange> updated;           // which weights it updates
  std::vector<FlatRange> counted;           // whose gradients it counts in the global norm
  const OptimizerShard* weights = nullptr;  // where those are that it updates; null: in the model
  Communicator* ranks = nullptr;            // the group that sums the norm; null: none
  // The group whose ranks update disjoint parts of a matrix; null: this rank updates all of it.
  Communicator* holders = nullptr;
};

/// AdamW with decoupled decay (arXiv:1711.05101, algorithm 2; Ops::adamw) over a model's weights,
/// clipped by the global norm of all gradients together (arXiv:1211.5063). Owns the two moments, of
/// optimizer.moments_dtype, zero at first; and, if the weights are bf16, their f32 masters, which
/// it updates and then rounds (arXiv:1710.03740, section 3.1).
///
/// With optimizer.name = "muon" it updates the matrices of the blocks by Muon (training/muon.h),
/// whose momentum is their first moment; they have no second.
///
/// With optimizer.ema_decay = d > 0 it keeps a moving average of the f32 weights, which begins as
/// they are: after update n, average += (1 - d') (weights - average), d' = min(d, (1 + n) / (10 +
/// n)), so that the first weights do not count for long.
class Optimizer {
 public:
  /// Borrows `weights`. Gradients may be of either type. Alone, or as one of several ranks.
  Optimizer(Ops& ops, const OptimizerConfig& config, const ModelTensors& weights);
  /// `seed` of the rounding of bf16 moments, which is the same however states are sharded.
  /// With `host`, moments, masters (of f32 weights too) and the average are in its memory and
  /// updates are its: a part at a time, gradients are copied there and new weights back
  /// (ZeRO-Offload, arXiv:2101.06840). update() then waits. Not with Muon.
  Optimizer(Ops& ops, const OptimizerConfig& config, const ModelTensors& weights, ShardRanges share,
            std::uint64_t seed = 0, Ops* host = nullptr);

  /// Measures the gradients: what the next update() scales by is min(1, clip_norm / norm).
  /// Queued, like update(): the norm stays on the device, without host synchronisation.
  /// `check` as in GradientNorm.
  void measure(const OptimizerShard& gradients, Tensor check = {});
  /// One update from the gradients last measured. `number` counts updates from 1, for the bias
  /// correction. Changes nothing when their norm, or `check`, is not finite.
  void update(const OptimizerShard& gradients, double learning_rate, std::int64_t number);
  /// Of the gradients last measured: sqrt of the sum of the squares of all of them on all ranks,
  /// before clipping; NaN or infinite when one of them is. The same on every rank. Waits.
  double gradient_norm() const { return norm_.value(); }
  const GradientNorm& norm() const { return norm_; }

  /// The f32 weights that this rank's updates add up in: the model's own, or their masters. Who
  /// writes them calls cast_master_weights() next.
  const OptimizerShard& master() const { return master_ ? *master_ : own_weights_; }
  /// The weights that this rank updates, of the model's type.
  const OptimizerShard& weights() const { return own_weights_; }
  /// Whether the weights are their masters, rounded: checkpoints then have both.
  bool rounds_weights() const { return weights_.dtype() != DType::f32; }
  /// What computes with masters, moments and average, and can write them.
  Ops& state_ops() const { return state_ops_; }
  /// The model's weights = the masters, rounded. Nothing where they are one.
  void cast_master_weights();
  /// Of the moments, masters and average, and of what Muon computes with.
  std::int64_t bytes() const;
  /// What bytes() will be, in main memory with optimizer.cpu_offload.
  static std::int64_t planned_bytes(const OptimizerConfig& config, const WeightLayout& weights,
                                    DType dtype, FlatLayout layout,
                                    const std::vector<FlatRange>& updated, bool alone,
                                    bool holds_parts);

  /// Of the same pieces.
  const OptimizerShard& first_moment() const { return first_; }
  /// Of the pieces that AdamW updates.
  const OptimizerShard& second_moment() const { return second_; }
  bool has_second_moment(const NamedWeight& weight) const;

  /// The moving average; null without optimizer.ema_decay.
  const OptimizerShard* average() const { return average_ ? &*average_ : nullptr; }
  /// Begins the average with the weights as they are.
  void begin_average();
  /// Exchanges weights and average, bit for bit, for as long as the average is to be used.
  void swap_average();

 private:
  void update_with_adamw(const OptimizerShard& gradients, double learning_rate,
                         std::int64_t number);
  void update_average(std::int64_t number);
  void update_on_host(const std::vector<AdamWPiece>& pieces, const AdamWParameters& parameters);
  bool is_offloaded() const { return &state_ops_ != &ops_; }
  bool needs_finite_norm() const { return muon_ || average_ || is_offloaded(); }

  Ops& ops_;
  Ops& state_ops_;
  const OptimizerConfig config_;
  const ModelTensors& weights_;
  const ShardRanges share_;
  const std::uint64_t seed_;
  const OptimizerShard own_weights_;      // those that are updated
  std::optional<OptimizerShard> master_;  // of weights that are rounded, or on another device
  OptimizerShard first_, second_;
  std::optional<OptimizerShard> average_;
  std::unique_ptr<Arena> swapped_;       // of a part of the average
  std::vector<ElementNumbers> numbers_;  // of each piece of second_
  GradientNorm norm_;
  std::unique_ptr<Arena> staging_;  // of gradients and new weights on their way
  std::unique_ptr<Muon> muon_;
};

}  // namespace lacuna
