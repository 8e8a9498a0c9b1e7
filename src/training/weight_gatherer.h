#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "kernels/ops.h"
#include "model/unit_gatherer.h"
#include "model/weights.h"
#include "training/buckets.h"
#include "training/optimizer_shard.h"

namespace lacuna {

/// Gathers weights of which each data parallel rank holds its parts of the buckets (ZeRO-3), while
/// passes compute with the unit before. The weights are windows: a unit lies in a slot that others
/// have too. What a slot still holds is not gathered again: a backward pass finds the last two
/// blocks, the next forward pass the first two, unless there was an update between.
class WeightGatherer final : public UnitGatherer {
 public:
  /// Borrows all. `weights`: windows. `shard`: this rank's parts of `buckets`. With `poison` a slot
  /// without gathered weights holds NaN.
  WeightGatherer(Ops& ops, Communicator& ranks, const ModelTensors& weights,
                 const OptimizerShard& shard, const Buckets& buckets, bool poison);

  void begin_pass() override;
  void gather(std::size_t unit, PassDirection direction) override;
  void begin_uneven_passes() override;
  void end_uneven_passes() override;
  void begin_trial_passes() override;
  void end_trial_passes() override;

  /// The shards have changed: what was gathered is of no use.
  void invalidate();
  /// Before a micro-batch in which this rank's model may make a pass.
  void begin_micro_batch() { passed_ = false; }
  /// The gathers of a forward pass, for a rank that has not made one in this micro-batch.
  void join_forward_pass();
  /// Whoever waits for the ranks says so: gathers that were queued before are complete.
  void waited();

 private:
  enum class Passes : std::uint8_t { alike, uneven, trial };
  struct GatheredSlot {
    std::size_t unit;
    bool is_complete;
  };
  GatheredSlot& slot_of(std::size_t unit) { return slots_[unit_slots_[unit]]; }
  bool any_rank(bool here) { return reduced(ranks_, here ? 1 : 0, Reduce::max) > 0; }
  void begin(std::size_t unit);
  void gather_forward();

  Ops& ops_;
  Communicator& ranks_;
  const ModelTensors& weights_;
  const OptimizerShard& shard_;
  const Buckets& buckets_;
  const bool poison_;
  std::vector<std::vector<FlatRange>> unit_buckets_;
  std::vector<std::size_t> unit_slots_;
  std::vector<GatheredSlot> slots_;
  Passes passes_ = Passes::alike;
  bool passed_ = false;
};

}  // namespace lacuna
