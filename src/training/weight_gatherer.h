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

/// Gathers weights of which each data parallel rank updates its parts of the buckets, while passes
/// compute with the unit before; in a step's first forward pass all of them, after which each rank
/// has them (ZeRO-1). Or they are windows (ZeRO-3): a unit lies in a slot that others have too, and
/// is gathered again when a pass comes back to it, unless the slot still holds it. A backward pass
/// finds the last two blocks, the next forward pass the first two.
class WeightGatherer final : public UnitGatherer {
 public:
  /// Borrows all. `shard`: this rank's parts of `buckets`. With `poison` windows without gathered
  /// weights hold NaN.
  WeightGatherer(Ops& ops, Communicator& ranks, const ModelTensors& weights,
                 const OptimizerShard& shard, const Buckets& buckets, bool poison);

  bool gathers_in_every_pass() const override { return weights_.are_windows(); }
  void begin_pass() override;
  void gather(std::size_t unit, PassDirection direction) override;
  void begin_uneven_passes() override;
  void end_uneven_passes() override;
  void begin_trial_passes() override;
  void end_trial_passes() override;

  /// The shards have changed: what was gathered is of no use. No gather may be under way: not
  /// between begin_step() and the end of the next pass.
  void invalidate();
  /// Before the passes of a step: begins to gather the first unit.
  void begin_step();
  /// After a micro-batch. The gathers of a forward pass, if this rank has not made one in it.
  void join_forward_pass();
  void end_micro_batch() { passed_ = false; }
  /// Whoever waits for the ranks says so: gathers that were queued before are complete.
  void waited();

 private:
  enum class Passes : std::uint8_t { alike, uneven, trial };
  struct Unit {
    std::size_t slot;
    std::vector<std::size_t> buckets;  // that it has elements in
    bool under_way = false;            // some of them
  };
  void begin(std::size_t unit);
  void gather_forward();

  Ops& ops_;
  Communicator& ranks_;
  const ModelTensors& weights_;
  const OptimizerShard& shard_;
  const Buckets& buckets_;
  const bool poison_;
  std::vector<Unit> units_;
  std::vector<std::size_t> slots_;  // which unit's each is
  std::vector<bool> gathered_;      // of each bucket: whether it was, since the shards changed and
                                    // its window became its unit's
  Passes passes_ = Passes::alike;
  bool passed_ = false;
};

}  // namespace lacuna
