#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "model/weights.h"
#include "training/buckets.h"

namespace lacuna {

/// Bytes of a bucket of f32 gradients of a model with `elements` of them: large enough for
/// bandwidth, small enough that the reduction of the last one, which nothing overlaps, is a small
/// part of a step. The links of GPUs need larger ones: up to 256 MiB, of which a model of many
/// weights still has 32.
inline std::int64_t bucket_bytes(Place place, std::int64_t elements) {
  constexpr std::int64_t kLeast = std::int64_t{16} << 20, kMost = std::int64_t{256} << 20;
  if (place == Place::host) return kLeast;
  return std::clamp(elements * size_of(DType::f32) / 32, kLeast, kMost);
}

/// What of a model's states data parallel ranks divide among each other (ZeRO, arXiv:1910.02054,
/// section 5), by parallel.zero_stage; nothing where there is one such rank.
struct ZeroLayout {
  bool shards_states;     // moments and master weights: from stage 1 on
  bool shards_gradients;  // from stage 2 on
  bool shards_weights;    // from stage 3 on
  // Of the sums of gradients over micro-batches (optimizer.gradients_dtype). The gradients of a
  // micro-batch are f32.
  DType sums;
  FlatLayout flat;  // of all tensors of the model
  ModelTensors::Extent weights, gradients;

  ZeroLayout(std::int64_t stage, int ranks, DType gradients_dtype = DType::f32)
      : shards_states(stage >= 1 && ranks > 1),
        shards_gradients(stage >= 2 && ranks > 1),
        shards_weights(stage >= 3 && ranks > 1),
        sums(gradients_dtype),
        flat{Buckets::multiple(ranks), has_windows()},
        weights(extent(shards_weights)),
        gradients(extent(has_windows())),
        ranks_(ranks) {}

  /// Whether gradients are windows, taken in each micro-batch into sums of their own.
  bool has_windows() const { return shards_gradients || rounds_sums(); }
  bool rounds_sums() const { return sums != DType::f32; }
  /// The ranges of these sums: this rank's parts of the buckets, or all of flat().
  std::vector<FlatRange> summed(const std::vector<FlatRange>& units,
                                const std::vector<FlatRange>& parts) const {
    if (shards_gradients) return parts;
    return {{0, units.back().end()}};
  }

  /// What a rank updates of the model's flat(): all, or its parts of the buckets.
  std::vector<FlatRange> updated(const std::vector<FlatRange>& units,
                                 const std::vector<FlatRange>& parts) const {
    if (shards_states) return parts;
    return {{0, units.back().end()}};
  }

  /// Of the units of the model's flat(): buckets of `bucket_bytes` of f32 gradients; of one rank
  /// there is one.
  Buckets buckets(const std::vector<FlatRange>& units, std::int64_t bucket_bytes) const {
    if (shards_gradients) return {units, ranks_, bucket_bytes / size_of(DType::f32)};
    const std::int64_t elements = units.back().end();
    return {elements, ranks_, ranks_ > 1 ? bucket_bytes / size_of(DType::f32) : elements};
  }

 private:
  static ModelTensors::Extent extent(bool sharded) {
    return sharded ? ModelTensors::Extent::windows : ModelTensors::Extent::whole;
  }
  int ranks_;
};

}  // namespace lacuna
