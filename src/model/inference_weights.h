#pragma once
#include <cstdint>
#include <vector>

#include "config/config.h"
#include "core/arena.h"
#include "core/matrix.h"
#include "model/model_weights.h"
#include "model/tensor_parallel_shard.h"
#include "model/weights.h"

namespace lacuna {

/// How InferenceWeights hold a matrix of the table.
struct WeightStorage {
  MatrixFormat format = MatrixFormat::f32;
  /// This rank's part, contiguous in main memory, which outlives the weights (a mapped file). Null:
  /// memory is allocated for it.
  const void* mapped = nullptr;
};

/// Weights that are only used: each matrix in a format of its own, in memory allocated here or
/// where it lies already. They have no gradients and no common vector. Any number of models and
/// decoders may read them at once.
class InferenceWeights {
 public:
  /// Norms, and activations, are of `dtype`. `storage`: of each of model_weights(config); those of
  /// norms count for nothing. What is allocated is zeroed; parts of a packed tensor are allocated
  /// as one matrix where all of them are, in one format. Throws as ModelTensors, and Error for rows
  /// that are no whole number of a format's blocks.
  InferenceWeights(Memory& memory, const ModelConfig& config, DType dtype,
                   const std::vector<WeightStorage>& storage, TensorParallelShard share = {});

  /// What that allocates.
  static Plan plan(const ModelConfig& config, DType dtype,
                   const std::vector<WeightStorage>& storage, TensorParallelShard share = {});

  /// What a forward pass reads.
  const ModelWeights& views() const { return views_; }
  operator const ModelWeights&() const { return views_; }  // NOLINT(google-explicit-constructor)

  /// A weight in memory that was allocated here.
  struct Allocated {
    NamedWeight weight;  // its tensor: elements; of a format of blocks, `bytes`
    MatrixFormat format;
    Tensor bytes;  // u8 [rows, bytes of a row]; a vector is one row
  };
  /// To be filled by whoever made these weights.
  const std::vector<Allocated>& allocated() const { return allocated_; }
  /// Bytes allocated.
  std::int64_t bytes() const { return arena_.plan().bytes(); }

 private:
  class Builder;
  InferenceWeights(Memory& memory, DType dtype, TensorParallelShard share, const Builder& builder);

  ModelWeights views_;
  Arena arena_;
  std::vector<Allocated> allocated_;
};

}  // namespace lacuna
