#pragma once
#include <cstdint>

#include "config/config.h"

namespace lacuna {

/// Which part of a model a rank holds: part `index` of `count`, among the ranks that share one copy
/// (tensor parallelism).
struct ModelShare {
  int index = 0, count = 1;
};

/// What lies in such a part (arXiv:1909.08053, section 3). Projections that read the residual
/// stream are cut by their outputs (heads, feed-forward units), those that write to it by their
/// inputs, embedding and head by vocabulary. Norms are held by every rank.
struct ShareExtents {
  std::int64_t heads = 0, key_heads = 0, head_dim = 0;
  std::int64_t ffn_width = 0;
  std::int64_t first_id = 0, ids = 0;  // rows of the embedding and of the head

  /// Throws UsageError when heads, key heads or feed-forward units cannot be dealt out evenly, or
  /// there are fewer ids than ranks. Ids are dealt out in nearly equal numbers.
  ShareExtents(const ModelConfig& config, ModelShare share);
};

}  // namespace lacuna
