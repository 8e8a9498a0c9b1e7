#pragma once
#include <algorithm>
#include <cstdint>

#include "config/config.h"
#include "core/tensor.h"

namespace lacuna {

/// Which part of a model a rank holds: part `index` of `count`, among the ranks that share one copy
/// (tensor parallelism).
struct TensorParallelShard {
  int index = 0, count = 1;
  /// Each rank has the residual stream of its rows alone (model/sequence_parallel.h), but in the
  /// last block.
  bool sequence_parallel = false;

  /// Whether there are rows to deal out: in the last block they come together.
  bool is_sequence_parallel(std::int64_t layers) const {
    return sequence_parallel && count > 1 && layers > 1;
  }
};

/// The rows of [N,...] that are one rank's when they are sharded: `each` of them, the last ranks
/// fewer or none.
struct RowPart {
  std::int64_t each = 0, first = 0, count = 0;

  RowPart() = default;
  RowPart(std::int64_t rows, TensorParallelShard share)
      : each((rows + share.count - 1) / share.count),
        first(std::min(rows, share.index * each)),
        count(std::min(each, rows - first)),
        index_(share.index) {}
  /// This rank's of equal parts: [T each,C] -> [each,C].
  Tensor part_of(const Tensor& parts) const { return parts.row_range(index_ * each, each); }

 private:
  int index_ = 0;
};

/// What lies in such a part (arXiv:1909.08053, section 3). Projections that read the residual
/// stream are cut by their outputs (heads, feed-forward units), those that write to it by their
/// inputs, embedding and head by vocabulary. Norms are held by every rank.
struct ShardDims {
  std::int64_t heads = 0, key_heads = 0, head_dim = 0;
  std::int64_t ffn_width = 0;
  std::int64_t first_id = 0, ids = 0;  // rows of the embedding and of the head

  /// Throws UsageError when heads, key heads or feed-forward units do not divide evenly among the
  /// ranks, there are fewer ids than ranks, or ranks are to share experts. Ids are split in nearly
  /// equal numbers.
  ShardDims(const ModelConfig& config, TensorParallelShard share);
};

}  // namespace lacuna
