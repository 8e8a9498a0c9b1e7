#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "comm/device_mesh.h"
#include "config/config.h"
#include "kernels/ops.h"
#include "model/inference_weights.h"
#include "model/weights.h"
#include "training/buckets.h"
#include "training/data_parallel.h"
#include "training/optimizer_shard.h"
#include "training/weight_gatherer.h"

namespace lacuna {

/// What of a model is trained: all its weights, or adapters beside weights that are frozen
/// (training/lora.h).
enum class Trained : std::uint8_t { weights, adapters };
/// What fine-tuning trains: adapters when lora.rank is above 0.
inline Trained sft_trained(const LoraConfig& config) {
  return config.rank > 0 ? Trained::adapters : Trained::weights;
}

/// A rank's replica of the model in training, or its tensor-parallel shard of one: what is trained
/// (of compute.dtype), its gradients (f32), and how data-parallel ranks divide both into buckets
/// and add up the gradients; and the weights that are frozen, if any. With parallel.zero_stage 2
/// the gradients are windows, and their sums this rank's parts alone; with
/// optimizer.gradients_dtype = "bf16" they are windows too, and their sums bf16; with 3 the weights
/// too, which passes gather from the ranks' parts.
struct ModelReplica {
  /// Borrows the grid. Buckets hold `bucket_size` bytes of gradients (0: bucket_bytes()); of one
  /// data-parallel rank there is one. Throws UsageError when the model cannot be sharded over the
  /// tensor-parallel ranks.
  ModelReplica(Ops& ops, const Config& config, const DeviceMesh& grid, std::int64_t bucket_size,
               Trained trained = Trained::weights);
  ModelReplica(const ModelReplica&) = delete;
  ModelReplica& operator=(const ModelReplica&) = delete;

  /// What a forward pass reads.
  ModelWeights views() const;

  const std::optional<InferenceWeights> frozen;  // none where all weights are trained
  ModelTensors weights, gradients;               // what is trained
  const Buckets buckets;
  const std::vector<FlatRange> parts;  // this rank's, of the buckets
  const OptimizerShard shard;          // of the weights: what this rank updates
  const OptimizerShard reduced;        // gradients as the optimizer reads them; valid in `parts`
  const std::unique_ptr<WeightGatherer> gatherer;  // null: each rank has all weights
  DataParallel data_parallel;

  /// Of what is trained: weights and, where they are sharded, this rank's shard.
  std::int64_t weight_bytes() const;
  /// Of gradients and what they are reduced into.
  std::int64_t gradient_bytes() const;

 private:
  ModelReplica(Ops& ops, const Config& config, const DeviceMesh& grid, std::int64_t bucket_size,
               Trained trained, const WeightLayout& layout, const ZeroLayout& zero);
  const float adapter_scale_;
};

}  // namespace lacuna
