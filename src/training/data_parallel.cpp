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

void DataParallel::begin() {
  first_ = true;
  if (gatherer_) gatherer_->begin_step();
}

void DataParallel::add_up(const ModelTensors& gradients, const FlatRange& bucket) {
  if (each_micro_batch()) {
    // Where another unit's tensors may have been.
    if (!gaps_) gaps_ = alignment_gaps(gradients);
    for (const FlatRange& gap : intersection({bucket}, *gaps_))
      ops_.fill(gradients.elements(gap), 0);
  }
  const Tensor all = gradients.elements(bucket);
  if (sharded())
    ranks_.reduce_scatter(gradients.elements(buckets_.part(bucket, ranks_.rank())), all,
                          Reduce::sum);
  else
    ranks_.all_reduce(all, Reduce::sum);
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
    if (first_)
      ops_.copy(reduced_.elements(own), gradients.elements(own));
    else
      ops_.add(reduced_.elements(own), gradients.elements(own));
  }
}

/// What must be complete before a bucket is reduced begins here: a window's unit, or the bucket.
std::int64_t DataParallel::begin_of_reduced(const ModelTensors& gradients,
                                            const FlatRange& bucket) const {
  if (!each_micro_batch()) return bucket.begin;
  auto unit = gradients.units().rbegin();
  while (unit->begin > bucket.begin) ++unit;
  return unit->begin;
}

void DataParallel::gradients_complete(const ModelTensors& gradients, std::int64_t complete) {
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
      gradients_complete(gradients, units[u].begin);
    }
    take_reduced(gradients);
    taken_ = 0;
    if (gatherer_) gatherer_->end_micro_batch();
  } else {
    gradients_complete(gradients, 0);
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
