#pragma once
#include <cstdint>
#include <vector>

#include "comm/device_mesh.h"
#include "config/config.h"
#include "kernels/ops.h"
#include "model/weights.h"
#include "training/buckets.h"
#include "training/data_parallel.h"
#include "training/optimizer_shard.h"

namespace lacuna {

/// A rank's replica of the model in training, or its tensor-parallel shard of one: weights (of
/// compute.dtype), gradients (f32), and how data-parallel ranks divide both into buckets and add up
/// the gradients. With parallel.zero_stage 2 the gradients are windows, and their sums this rank's
/// parts alone.
struct ModelReplica {
  /// Borrows the grid. Buckets hold `bucket_bytes` of gradients; of one data-parallel rank there is
  /// one. Throws UsageError when the model cannot be sharded over the tensor-parallel ranks.
  ModelReplica(Ops& ops, const Config& config, const DeviceMesh& grid, std::int64_t bucket_bytes);
  ModelReplica(const ModelReplica&) = delete;
  ModelReplica& operator=(const ModelReplica&) = delete;

  ModelTensors weights, gradients;
  const Buckets buckets;
  const std::vector<FlatRange> parts;  // this rank's, of the buckets
  const OptimizerShard reduced;        // gradients as the optimizer reads them; valid in `parts`
  DataParallel data_parallel;

  /// Of gradients and what they are reduced into.
  std::int64_t gradient_bytes() const;

 private:
  ModelReplica(Ops& ops, const Config& config, const DeviceMesh& grid, std::int64_t bucket_bytes,
               const ZeroLayout& zero);
};

}  // namespace lacuna
