#include "training/model_replica.h"

#include "config/dtype.h"

namespace lacuna {
namespace {

TensorParallelShard shard_of(const Config& config, const DeviceMesh& grid) {
  return {grid.tensor().rank(), grid.tensor().size(), config.parallel.sequence_parallel};
}

}  // namespace

ModelReplica::ModelReplica(Ops& ops, const Config& config, const DeviceMesh& grid,
                           std::int64_t bucket_bytes)
    : ModelReplica(ops, config, grid, bucket_bytes,
                   ZeroLayout(config.parallel.zero_stage, grid.data().size())) {}

ModelReplica::ModelReplica(Ops& ops, const Config& config, const DeviceMesh& grid,
                           std::int64_t bucket_bytes, const ZeroLayout& zero)
    : weights(ops.memory(), config.model, "weights", type_of(config.compute.dtype),
              shard_of(config, grid), zero.flat),
      gradients(ops.memory(), config.model, "gradients", DType::f32, shard_of(config, grid),
                zero.flat, zero.gradients),
      buckets(zero.buckets(weights.units(), bucket_bytes)),
      parts(buckets.parts(grid.data().rank())),
      reduced(zero.shards_gradients ? OptimizerShard(ops.memory(), weights, parts, "gradients")
                                    : OptimizerShard(gradients)),
      data_parallel(ops, grid.data(), buckets, zero, reduced) {}

std::int64_t ModelReplica::gradient_bytes() const {
  return gradients.memory().bytes() +
         (data_parallel.each_micro_batch() ? reduced.flat().bytes() : 0);
}

}  // namespace lacuna
