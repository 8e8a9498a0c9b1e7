#include "training/data_parallel.h"

namespace lacuna {
namespace {

/// What of flat() belongs to no tensor.
std::vector<FlatRange> alignment_gaps(const ModelTensors& tensors) {
  std::vector<FlatRange> gaps;
  std::int64_t end = 0;
  const auto add_gap = [&](std::int64_t until) {
    if (until > end) gaps.push_back({end, until - end});
  };
  for (const NamedWeight& w : tensors.named()) {
    add_gap(w.flat);
    end = w.flat + w.tensor.count();
  }
  add_gap(tensors.units().back().end());
  return gaps;
}

}  // namespace

void DataParallel::begin(std::int64_t step) {
  first_ = true;
  rounding_ = {seed_, std::uint64_t(step), 0};
  if (gatherer_) gatherer_->begin_step();
}

void DataParallel::begin_micro_batch(std::int64_t number, bool reduces) {
  rounding_.micro_batch = std::uint64_t(number);
  reduces_ = reduces;
}

/// A range of one window, to sums in bf16.
void DataParallel::add_to_sums(const ModelTensors& gradients, const FlatRange& range) {
  const std::vector<WeightPiece> parts = pieces_within(gradients, {range});
  const std::vector<ElementNumbers> numbers = numbers_of(gradients, parts);
  std::vector<GradientSumPiece> pieces;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::int64_t at = gradients.named()[parts[i].weight].flat + parts[i].first;
    pieces.push_back(
        {reduced_.elements({at, parts[i].values.count()}), parts[i].values, numbers[i]});
  }
  ops_.add_to_gradient_sums(pieces, first_ ? GradMode::overwrite : GradMode::accumulate, rounding_);
}

/// Windows are reduced where they are; else the sums of all micro-batches.
void DataParallel::add_up(const ModelTensors& gradients, const FlatRange& bucket) {
  if (each_micro_batch()) {
    // Where another unit's tensors may have been.
    if (!gaps_) gaps_ = alignment_gaps(gradients);
    for (const FlatRange& gap : intersection({bucket}, *gaps_))
      ops_.fill(gradients.elements(gap), 0);
  }
  const auto elements = [&](const FlatRange& range) {
    return each_micro_batch() ? gradients.elements(range) : reduced_.elements(range);
  };
  if (sharded())
    ranks_.reduce_scatter(elements(buckets_.part(bucket, ranks_.rank())), elements(bucket),
                          Reduce::sum);
  else
    ranks_.all_reduce(elements(bucket), Reduce::sum);
}

void DataParallel::wait() {
  ranks_.wait();
  if (gatherer_) gatherer_->waited();
}

/// What is under way, into reduced_; its windows are free again.
void DataParallel::take_reduced(const ModelTensors& gradients) {
  if (taken_ == begun_) return;
  wait();
  for (; taken_ < begun_; ++taken_) {
    const FlatRange& bucket = buckets_.ranges()[taken_];
    const FlatRange own = buckets_.part(bucket, ranks_.rank());
    if (zero_.rounds_sums())
      add_to_sums(gradients, own);
    else if (first_)
      ops_.copy(reduced_.elements(own), gradients.elements(own));
    else
      ops_.add(reduced_.elements(own), gradients.elements(own));
  }
}

/// What must be complete before a bucket is reduced begins here: of windows its unit, which is
/// reduced or added to sums as a whole; else the bucket.
std::int64_t DataParallel::begin_of_reduced(const ModelTensors& gradients,
                                            const FlatRange& bucket) const {
  if (!has_windows()) return bucket.begin;
  auto unit = gradients.units().rbegin();
  while (unit->begin > bucket.begin) ++unit;
  return unit->begin;
}

void DataParallel::gradients_complete(const ModelTensors& gradients, std::int64_t complete) {
  const std::vector<FlatRange>& units = gradients.units();
  if (rounds_own_sums())
    for (; added_ < units.size() && units[units.size() - 1 - added_].begin >= complete; ++added_)
      add_to_sums(gradients, units[units.size() - 1 - added_]);
  if (reduces_) begin_reductions(gradients, complete);
}

void DataParallel::end_micro_batch(const ModelTensors& gradients) {
  if (!rounds_own_sums()) return;
  // What no pass has completed: there was nothing to compute.
  const std::vector<FlatRange>& units = gradients.units();
  if (first_)
    for (; added_ < units.size(); ++added_)
      ops_.fill(reduced_.elements(units[units.size() - 1 - added_]), 0);
  added_ = 0;
  first_ = false;
}

void DataParallel::begin_reductions(const ModelTensors& gradients, std::int64_t complete) {
  if (ranks_.size() == 1) return;
  const std::vector<FlatRange>& buckets = buckets_.ranges();
  const auto is_complete = [&] {
    return begun_ < buckets.size() && begin_of_reduced(gradients, buckets[begun_]) >= complete;
  };
  // Those of the unit before: the next block but one is about to use its window.
  if (each_micro_batch() && is_complete()) take_reduced(gradients);
  for (; is_complete(); ++begun_) add_up(gradients, buckets[begun_]);
}

void DataParallel::join_forward_pass() {
  if (gatherer_) gatherer_->join_forward_pass();
}

void DataParallel::finish(const ModelTensors& gradients) {
  join_forward_pass();
  if (each_micro_batch()) {
    const std::vector<FlatRange>& units = gradients.units();
    for (std::size_t u = units.size(); u-- > 0;) {
      const bool by_a_pass = begun_ > 0 && buckets_.ranges()[begun_ - 1].begin <= units[u].begin;
      if (by_a_pass) continue;
      if (gatherer_ && u > 0) gatherer_->gather(u, PassDirection::backward);
      take_reduced(gradients);  // which may be in the same window
      ops_.fill(gradients.elements(units[u]), 0);
      begin_reductions(gradients, units[u].begin);
    }
    take_reduced(gradients);
    taken_ = 0;
    if (gatherer_) gatherer_->end_micro_batch();
  } else {
    begin_reductions(gradients, 0);
    wait();
  }
  begun_ = 0;
  first_ = false;
}

void DataParallel::weights_changed(const ModelTensors& weights) {
  if (gatherer_) return gatherer_->invalidate();
  if (!sharded()) return;
  for (const FlatRange& bucket : buckets_.ranges())
    ranks_.all_gather(weights.elements(bucket),
                      weights.elements(buckets_.part(bucket, ranks_.rank())));
  ranks_.wait();
}

}  // namespace lacuna
