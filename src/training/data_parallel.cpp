#include "training/data_parallel.h"

namespace lacuna {
namespace {

Tensor elements(const ModelTensors& tensors, const FlatRange& range) {
  return tensors.flat().row_range(range.begin, range.size);
}

}  // namespace

void DataParallel::add_up(const ModelTensors& gradients, const FlatRange& bucket) {
  const Tensor all = elements(gradients, bucket);
  if (sharded_)
    ranks_.reduce_scatter(elements(gradients, buckets_.part(bucket, ranks_.rank())), all,
                          Reduce::sum);
  else
    ranks_.all_reduce(all, Reduce::sum);
}

void DataParallel::gradients_complete(const ModelTensors& gradients, const Tensor& lowest) {
  if (ranks_.size() == 1) return;
  const std::int64_t complete = gradients.flat_index(lowest);
  const std::vector<FlatRange>& buckets = buckets_.ranges();
  for (; begun_ < buckets.size() && buckets[begun_].begin >= complete; ++begun_)
    add_up(gradients, buckets[begun_]);
}

void DataParallel::finish(const ModelTensors& gradients) {
  gradients_complete(gradients, gradients.embedding);
  begun_ = 0;
  ranks_.wait();
}

void DataParallel::gather(const ModelTensors& weights) {
  if (!sharded_) return;
  for (const FlatRange& bucket : buckets_.ranges())
    ranks_.all_gather(elements(weights, bucket),
                      elements(weights, buckets_.part(bucket, ranks_.rank())));
  ranks_.wait();
}

}  // namespace lacuna
