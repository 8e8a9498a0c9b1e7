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
      poison_(poison && weights.are_windows()),
      gathered_(buckets.ranges().size()) {
  std::vector<const void*> memories;  // of the slots
  for (const FlatRange& range : weights.units()) {
    const void* const memory = weights.elements(range).data;
    const auto slot = std::find(memories.begin(), memories.end(), memory);
    Unit& unit = units_.emplace_back();
    unit.slot = std::size_t(slot - memories.begin());
    if (slot == memories.end()) memories.push_back(memory);
    for (std::size_t b = 0; b < buckets.ranges().size(); ++b)
      if (!intersection({range}, {buckets.ranges()[b]}).empty()) unit.buckets.push_back(b);
  }
  slots_.resize(memories.size());
  invalidate();
}

void WeightGatherer::invalidate() {
  std::fill(slots_.begin(), slots_.end(), kNoUnit);
  std::fill(gathered_.begin(), gathered_.end(), false);
  if (poison_) ops_.fill(weights_.memory(), kPoison);
}

void WeightGatherer::waited() {
  for (Unit& unit : units_) unit.under_way = false;
}

void WeightGatherer::begin(std::size_t number) {
  Unit& unit = units_[number];
  std::size_t& holds = slots_[unit.slot];
  if (holds != number) {
    if (holds != kNoUnit)
      for (const std::size_t b : units_[holds].buckets) gathered_[b] = false;
    holds = number;
    if (poison_) ops_.fill(weights_.elements(weights_.units()[number]), kPoison);
  }
  for (const std::size_t b : unit.buckets) {
    if (gathered_[b]) continue;
    const FlatRange& bucket = buckets_.ranges()[b];
    ranks_.all_gather(weights_.elements(bucket),
                      shard_.elements(buckets_.part(bucket, ranks_.rank())));
    gathered_[b] = unit.under_way = true;
  }
}

void WeightGatherer::gather(std::size_t unit, PassDirection direction) {
  if (passes_ == Passes::trial) return;
  begin(unit);
  if (units_[unit].under_way) {
    ranks_.wait();
    waited();
  }
  // After the backward pass the next forward pass begins with the embedding.
  if (direction == PassDirection::forward ? unit + 1 < units_.size() : unit > 0)
    begin(direction == PassDirection::forward ? unit + 1 : unit - 1);
}

void WeightGatherer::begin_step() {
  passed_ = false;
  begin(0);
}

void WeightGatherer::gather_forward() {
  for (std::size_t unit = 0; unit < units_.size(); ++unit) gather(unit, PassDirection::forward);
}

void WeightGatherer::begin_pass() {
  passed_ = true;
  if (passes_ == Passes::uneven && gathers_in_every_pass()) any_rank(ranks_, true);
}

void WeightGatherer::join_forward_pass() {
  if (!passed_ || !gathers_in_every_pass()) gather_forward();
}

/// What is gathered once is gathered before them.
void WeightGatherer::begin_uneven_passes() {
  if (!gathers_in_every_pass()) gather_forward();
  passes_ = Passes::uneven;
}

void WeightGatherer::end_uneven_passes() {
  while (gathers_in_every_pass() && any_rank(ranks_, false)) gather_forward();
  passes_ = Passes::alike;
}

/// Of real weights: the time of a product depends on its numbers.
void WeightGatherer::begin_trial_passes() {
  gather_forward();
  passes_ = Passes::trial;
}

void WeightGatherer::end_trial_passes() { passes_ = Passes::alike; }

}  // namespace lacuna
