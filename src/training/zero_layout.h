#pragma once
#include <cstdint>
#include <vector>

#include "model/weights.h"
#include "training/buckets.h"

namespace lacuna {

/// What of a model's states data parallel ranks divide among each other (ZeRO, arXiv:1910.02054,
/// section 5), by parallel.zero_stage; nothing where there is one such rank.
struct ZeroLayout {
  bool shards_states;     // moments and master weights: from stage 1 on
  bool shards_gradients;  // from stage 2 on
  FlatLayout flat;        // of all tensors of the model
  ModelTensors::Extent gradients = ModelTensors::Extent::whole;

  ZeroLayout(std::int64_t stage, int ranks)
      : shards_states(stage >= 1 && ranks > 1),
        shards_gradients(stage >= 2 && ranks > 1),
        flat{Buckets::multiple(ranks), shards_gradients},
        gradients(shards_gradients ? ModelTensors::Extent::windows : ModelTensors::Extent::whole),
        ranks_(ranks) {}

  /// Of the units of the model's flat(): buckets of `bucket_bytes` of f32 gradients; of one rank
  /// there is one.
  Buckets buckets(const std::vector<FlatRange>& units, std::int64_t bucket_bytes) const {
    if (shards_gradients) return {units, ranks_, bucket_bytes / size_of(DType::f32)};
    const std::int64_t elements = units.back().end();
    return {elements, ranks_, ranks_ > 1 ? bucket_bytes / size_of(DType::f32) : elements};
  }

 private:
  int ranks_;
};

}  // namespace lacuna
