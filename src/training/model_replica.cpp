#include "training/model_replica.h"

#include "config/dtype.h"

namespace lacuna {
namespace {

ModelTensors tensors_of(Ops& ops, const Config& config, const DeviceMesh& grid, const char* kind,
                        DType dtype) {
  const TensorParallelShard share{grid.tensor().rank(), grid.tensor().size(),
                                  config.parallel.sequence_parallel};
  return {ops.memory(), config.model, kind, dtype, share, Buckets::multiple(grid.data().size())};
}

}  // namespace

ModelReplica::ModelReplica(Ops& ops, const Config& config, const DeviceMesh& grid,
                           std::int64_t bucket_bytes)
    : weights(tensors_of(ops, config, grid, "weights", type_of(config.compute.dtype))),
      gradients(tensors_of(ops, config, grid, "gradients", DType::f32)),
      buckets(
          gradients.flat().count(), grid.data().size(),
          grid.data().size() > 1 ? bucket_bytes / size_of(DType::f32) : gradients.flat().count()),
      parts(buckets.parts(grid.data().rank())),
      data_parallel(grid.data(), buckets, config.parallel.zero_stage == 1) {}

}  // namespace lacuna
