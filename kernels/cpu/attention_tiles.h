#pragma once
#include <cstdint>

#include "kernels/key_intervals.h"

namespace lacuna {

/// Queries per tile, forward and backward; pieces begin at whole tiles of their segment.
constexpr std::int64_t kAttentionQueryTile = 48;

// One thread's piece of an attention, for `group` query heads of one segment that share a key head:
// those of q, dq, dout and out lie head_dim columns apart, those of lse 1. Pointers are to the
// first row and head. Key j of the piece is row key_row + j of the key tensor, which is how
// intervals count.

/// A range of queries against all keys of their segment, whose packing the heads share.
struct AttentionForwardPiece {
  float* out;
  float* lse;
  const float *q, *k, *v;
  std::int64_t out_stride, lse_stride, q_stride, k_stride, v_stride;
  const KeyIntervals* visible;  // of each query
  const KeyIntervals* hulls;  // of each tile of queries: what at least one of them sees lies within
  std::int64_t queries, keys, key_row, head_dim, group;
  float scale;     // 1 / sqrt(head_dim)
  float* scratch;  // forward_scratch(queries * group, head_dim) floats
};

/// A range of queries against a range of keys.
struct AttentionBackwardPiece {
  float* dq;       // null: not wanted
  float *dk, *dv;  // null: not wanted
  const float *dout, *out, *lse, *q, *k, *v;
  std::int64_t dq_stride, dk_stride, dv_stride;
  std::int64_t dout_stride, out_stride, lse_stride, q_stride, k_stride, v_stride;
  const KeyIntervals* visible;  // of each query
  const KeyIntervals* hulls;    // of each tile of queries
  std::int64_t queries, keys, key_row, head_dim, group;
  float scale;
  float* scratch;  // backward_scratch(head_dim) floats
};

/// The functions of attention_tiles.inc, compiled once per instruction set.
struct AttentionTiles {
  std::int64_t (*forward_scratch)(std::int64_t rows, std::int64_t head_dim);
  void (*forward)(const AttentionForwardPiece& piece);
  std::int64_t (*backward_scratch)(std::int64_t head_dim);
  void (*backward)(const AttentionBackwardPiece& piece);
};

}  // namespace lacuna
