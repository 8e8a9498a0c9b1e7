#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "config/config.h"
#include "core/tensor.h"
#include "model/tensor_parallel_shard.h"
#include "model/weight_spec.h"

namespace lacuna {

/// What a rank holds of each weight of a model, and which weights may lie in one packed tensor.
struct WeightLayout {
  /// A rank's part of a weight.
  struct Part {
    Shape shape;
    std::int64_t row = 0, col = 0;  // where it begins in the whole weight; a vector is one row
    std::int64_t packed_row = 0;    // where it begins in the packed tensor
    // Of an adapter's B: where the rows that it adds to begin in their packed tensor.
    std::int64_t target_row = 0;
  };
  /// Weights [first, end), one below the other: q_proj, k_proj, v_proj; mostly a single one.
  struct Pack {
    std::size_t first, end;
    std::string name;  // "blocks.0.qkv"
    Shape shape;       // of the parts together
    std::size_t size() const { return end - first; }
  };
  std::vector<ModelWeight> weights;  // model_weights()
  std::vector<Part> parts;           // of each weight
  std::vector<Pack> packs;

  /// Throws UsageError when the model cannot be shared like that, Error for a model without
  /// vocabulary or blocks.
  WeightLayout(const ModelConfig& config, TensorParallelShard share);
  /// Of the adapters of a model (adapter_weights()).
  WeightLayout(const ModelConfig& config, const LoraConfig& lora, TensorParallelShard share);

  TensorParallelShard share;
  bool tied_head = false;  // the head is the embedding, and not listed

 private:
  void pack();
};

}  // namespace lacuna
