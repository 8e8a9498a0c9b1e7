#include "training/weight_gatherer.h"

#include <algorithm>
#include <limits>

namespace lacuna {
namespace {

constexpr std::size_t kNoUnit = std::numeric_limits<std::size_t>::max();
constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

}  // namespace

WeightGatherer::WeightGatherer(Ops& ops, Communicator& ranks, const ModelTensors& weights,
                               const OptimizerShard& shard, const Buckets& buckets, bool poison)
    : ops_(ops),
      ranks_(ranks),
      weights_(weights),
      shard_(shard),
      buckets_(buckets),
      poison_(poison) {
  std::vector<const void*> memories;  // of the slots
  for (const FlatRange& unit : weights.units()) {
    unit_buckets_.emplace_back();
    for (const FlatRange& bucket : buckets.ranges())
      if (bucket.begin >= unit.begin && bucket.end() <= unit.end())
        unit_buckets_.back().push_back(bucket);
    const void* const memory = weights.elements(unit).data;
    const auto slot = std::find(memories.begin(), memories.end(), memory);
    unit_slots_.push_back(std::size_t(slot - memories.begin()));
    if (slot == memories.end()) memories.push_back(memory);
  }
  slots_.assign(memories.size(), {kNoUnit, false});
  invalidate();
}

void WeightGatherer::invalidate() {
  std::fill(slots_.begin(), slots_.end(), GatheredSlot{kNoUnit, false});
  if (poison_) ops_.fill(weights_.memory(), kPoison);
}

void WeightGatherer::waited() {
  for (GatheredSlot& slot : slots_) slot.is_complete = true;
}

void WeightGatherer::begin(std::size_t unit) {
  GatheredSlot& slot = slot_of(unit);
  if (slot.unit == unit) return;
  if (poison_) ops_.fill(weights_.elements(weights_.units()[unit]), kPoison);
  for (const FlatRange& bucket : unit_buckets_[unit])
    ranks_.all_gather(weights_.elements(bucket),
                      shard_.elements(buckets_.part(bucket, ranks_.rank())));
  slot = {unit, false};
}

void WeightGatherer::gather(std::size_t unit, PassDirection direction) {
  if (passes_ == Passes::trial) return;
  begin(unit);
  if (!slot_of(unit).is_complete) {
    ranks_.wait();
    waited();
  }
  // A backward pass does not use the embedding.
  if (direction == PassDirection::forward ? unit + 1 < unit_slots_.size() : unit > 1)
    begin(direction == PassDirection::forward ? unit + 1 : unit - 1);
}

void WeightGatherer::gather_forward() {
  for (std::size_t unit = 0; unit < unit_slots_.size(); ++unit)
    gather(unit, PassDirection::forward);
}

void WeightGatherer::begin_pass() {
  passed_ = true;
  if (passes_ == Passes::uneven) any_rank(true);
}

void WeightGatherer::join_forward_pass() {
  if (!passed_) gather_forward();
}

void WeightGatherer::begin_uneven_passes() { passes_ = Passes::uneven; }

void WeightGatherer::end_uneven_passes() {
  while (any_rank(false)) gather_forward();
  passes_ = Passes::alike;
}

/// Of real weights: the time of a product depends on its numbers.
void WeightGatherer::begin_trial_passes() {
  gather_forward();
  passes_ = Passes::trial;
}

void WeightGatherer::end_trial_passes() { passes_ = Passes::alike; }

}  // namespace lacuna
