#include "training/data_parallel.h"

namespace lacuna {

void DataParallel::begin(const ModelTensors& gradients) {
  first_ = true;
  if (!each_micro_batch()) ops_.fill(gradients.memory(), 0);  // windows are left at 0
}

void DataParallel::add_up(const ModelTensors& gradients, const FlatRange& bucket) {
  const Tensor all = gradients.elements(bucket);
  if (sharded())
    ranks_.reduce_scatter(gradients.elements(buckets_.part(bucket, ranks_.rank())), all,
                          Reduce::sum);
  else
    ranks_.all_reduce(all, Reduce::sum);
}

/// What is under way, into reduced_; its windows are free again.
void DataParallel::take_reduced(const ModelTensors& gradients) {
  if (taken_ == begun_) return;
  ranks_.wait();
  for (; taken_ < begun_; ++taken_) {
    const FlatRange& bucket = buckets_.ranges()[taken_];
    const FlatRange own = buckets_.part(bucket, ranks_.rank());
    if (first_)
      ops_.copy(reduced_.elements(own), gradients.elements(own));
    else
      ops_.add(reduced_.elements(own), gradients.elements(own));
    ops_.fill(gradients.elements(bucket), 0);
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

void DataParallel::finish(const ModelTensors& gradients) {
  if (each_micro_batch()) {
    for (auto unit = gradients.units().rbegin(); unit != gradients.units().rend(); ++unit)
      gradients_complete(gradients, unit->begin);
    take_reduced(gradients);
    taken_ = 0;
  } else {
    gradients_complete(gradients, 0);
    ranks_.wait();
  }
  begun_ = 0;
  first_ = false;
}

void DataParallel::gather(const ModelTensors& weights) {
  if (!sharded()) return;
  for (const FlatRange& bucket : buckets_.ranges())
    ranks_.all_gather(weights.elements(bucket),
                      weights.elements(buckets_.part(bucket, ranks_.rank())));
  ranks_.wait();
}

}  // namespace lacuna
