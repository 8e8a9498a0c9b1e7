#include "training/model_replica.h"

#include "config/dtype.h"
#include "training/lora.h"

namespace lacuna {
namespace {

TensorParallelShard shard_of(const Config& config, const DeviceMesh& grid) {
  return {grid.tensor().rank(), grid.tensor().size(), config.parallel.sequence_parallel};
}

std::optional<InferenceWeights> frozen_weights(Ops& ops, const Config& config, Trained trained,
                                               TensorParallelShard share) {
  if (trained == Trained::weights) return std::nullopt;
  return std::optional<InferenceWeights>(std::in_place, ops.memory(), config.model,
                                         type_of(config.compute.dtype), frozen_storage(config),
                                         share);
}

}  // namespace

ModelReplica::ModelReplica(Ops& ops, const Config& config, const DeviceMesh& grid,
                           std::int64_t bucket_size, Trained trained)
    : ModelReplica(ops, config, grid, bucket_size, trained,
                   trained_layout(config, trained, shard_of(config, grid)),
                   ZeroLayout(config.parallel.zero_stage, grid.data().size(),
                              type_of(config.optimizer.gradients_dtype))) {}

ModelReplica::ModelReplica(Ops& ops, const Config& config, const DeviceMesh& grid,
                           std::int64_t bucket_size, Trained trained, const WeightLayout& layout,
                           const ZeroLayout& zero)
    : frozen(frozen_weights(ops, config, trained, layout.share)),
      weights(ops.memory(), layout, "weights", type_of(config.compute.dtype), zero.flat,
              zero.weights),
      gradients(ops.memory(), layout, "gradients", DType::f32, zero.flat, zero.gradients),
      buckets(zero.buckets(
          weights.units(),
          bucket_size > 0 ? bucket_size : bucket_bytes(ops.place(), weights.units().back().end()))),
      parts(buckets.parts(grid.data().rank())),
      shard(zero.shards_weights
                ? OptimizerShard(ops.memory(), weights, parts, "weights", weights.dtype())
                : OptimizerShard(weights, zero.updated(weights.units(), parts))),
      reduced(zero.has_windows()
                  ? OptimizerShard(ops.memory(), weights, zero.summed(weights.units(), parts),
                                   "gradients", zero.sums)
                  : OptimizerShard(gradients)),
      gatherer(zero.shards_states && !frozen
                   ? std::make_unique<WeightGatherer>(ops, grid.data(), weights, shard, buckets,
                                                      config.compute.device != DeviceKind::cuda)
                   : nullptr),
      data_parallel(ops, grid.data(), buckets, zero, reduced, gatherer.get(),
                    std::uint64_t(config.train.seed)),
      adapter_scale_(float(config.lora.scale())) {}

ModelWeights ModelReplica::views() const {
  if (!frozen) {
    ModelWeights views = weights;
    views.gatherer = gatherer.get();
    return views;
  }
  return with_adapters(frozen->views(), weights, adapter_scale_);
}

std::int64_t ModelReplica::weight_bytes() const {
  return weights.memory().bytes() + (weights.are_windows() ? shard.flat().bytes() : 0);
}

std::int64_t ModelReplica::gradient_bytes() const {
  return gradients.memory().bytes() + (gradients.are_windows() ? reduced.flat().bytes() : 0);
}

}  // namespace lacuna
