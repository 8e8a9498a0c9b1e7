#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "comm/communicator.h"
#include "kernels/ops.h"
#include "model/model.h"
#include "training/buckets.h"
#include "training/optimizer_shard.h"
#include "training/weight_gatherer.h"
#include "training/zero_layout.h"

namespace lacuna {

/// Adds up the gradients of ranks that have copies of the same weights, bucket by bucket while the
/// backward pass goes on. With sharded states (ZeRO-1) each rank gets the sums of its own parts
/// alone, and the weights of the others' parts when passes use them (WeightGatherer); those of
/// adapters after the update.
///
/// With sharded gradients (ZeRO-2) there is never more of the others' parts than the windows that a
/// backward pass fills: each micro-batch's gradients are reduced as soon as a unit is complete, and
/// this rank's parts added to `reduced`. While one block's are under way the next one's backward
/// pass goes on.
///
/// With sums in bf16 (optimizer.gradients_dtype) the gradients are windows as well, and each
/// micro-batch is added to the sums as GradientRounding says: ranks that do not shard them add up
/// their own, and then those of all ranks, in bf16, as their group reduces that; ranks that shard
/// them reduce each micro-batch in f32 and then round it.
class DataParallel {
 public:
  /// Borrows all. `gatherer`: of weights whose states are sharded; null for adapters.
  DataParallel(Ops& ops, Communicator& ranks, const Buckets& buckets, const ZeroLayout& zero,
               const OptimizerShard& reduced, WeightGatherer* gatherer, std::uint64_t seed)
      : ops_(ops),
        ranks_(ranks),
        buckets_(buckets),
        zero_(zero),
        reduced_(reduced),
        gatherer_(gatherer),
        seed_(seed) {}

  bool sharded() const { return zero_.shards_states; }
  bool shards_weights() const { return zero_.shards_weights; }
  /// Whether gradients are reduced in each micro-batch, not only in the last. All ranks then have
  /// the same number of them: one without a micro-batch of its own reduces zeros.
  bool each_micro_batch() const { return zero_.shards_gradients; }
  /// Whether any of the ranks has something.
  bool any_rank(bool here) { return lacuna::any_rank(ranks_, here); }

  /// Whether gradients are windows, so that gradients_complete() is for every micro-batch, and each
  /// overwrites what the one before has left.
  bool has_windows() const { return zero_.has_windows(); }

  /// Before the first micro-batch of step `step` (from 0), whose gradients overwrite those of the
  /// step before.
  void begin(std::int64_t step);
  /// Before each micro-batch. `number`: among those of the step, on all ranks that do not compute
  /// one together. `reduces`: whether what is complete is reduced at once.
  void begin_micro_batch(std::int64_t number, bool reduces);
  /// During its backward pass: begins to add up what is complete.
  void gradients_complete(const ModelTensors& gradients, std::int64_t complete);
  /// After it. Where it is not reduced, or not yet, the sums are those of this rank so far.
  void end_micro_batch(const ModelTensors& gradients);
  /// Before other collectives of a step in which this rank may have had no reason to make a pass:
  /// the gathers of that pass.
  void join_forward_pass();
  /// After the last micro-batch, or each that is reduced: adds up the others, and waits for all.
  /// Windows of which no part is complete then count as 0: this rank had nothing to compute. Makes
  /// the gathers of passes that it had no reason to make.
  void finish(const ModelTensors& gradients);
  /// After an update of sharded states: passes from now on read every rank's new parts of the
  /// weights.
  void weights_changed(const ModelTensors& weights);

 private:
  bool rounds_own_sums() const { return zero_.rounds_sums() && !each_micro_batch(); }
  void add_to_sums(const ModelTensors& gradients, const FlatRange& range);
  void begin_reductions(const ModelTensors& gradients, std::int64_t complete);
  void add_up(const ModelTensors& gradients, const FlatRange& bucket);
  void take_reduced(const ModelTensors& gradients);
  void wait();
  std::int64_t begin_of_reduced(const ModelTensors& gradients, const FlatRange& bucket) const;

  Ops& ops_;
  Communicator& ranks_;
  const Buckets& buckets_;
  const ZeroLayout zero_;
  const OptimizerShard& reduced_;
  WeightGatherer* const gatherer_;
  std::optional<std::vector<FlatRange>> gaps_;  // of flat(), between tensors
  const std::uint64_t seed_;
  GradientRounding rounding_;
  bool reduces_ = false;   // this micro-batch at once
  std::size_t added_ = 0;  // units of this micro-batch, to sums of this rank's own
  std::size_t begun_ = 0;  // buckets of this micro-batch
  std::size_t taken_ = 0;  // of those, whose sums are in reduced_
  bool first_ = true;      // micro-batch of a step
};

}  // namespace lacuna
