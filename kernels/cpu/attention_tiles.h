#pragma once
#include <cstdint>

namespace lacuna {

// One thread's piece of an attention, for one head of one segment. Rows are head_dim wide; pointers
// are to the first row. `positions` is null when every query sees every key, else query i sees keys
// 0..positions[i] of the segment.

/// A range of queries against all keys of their segment.
struct AttentionForwardPiece {
  float* out;
  float* lse;
  const float *q, *k, *v;
  std::int64_t out_stride, lse_stride, q_stride, k_stride, v_stride;
  const std::int32_t* positions;
  std::int64_t queries, keys, head_dim;
  float scale;     // 1 / sqrt(head_dim)
  float* scratch;  // forward_scratch(queries, head_dim) floats
};

/// A range of queries against a range of keys, for the `group` query heads that share a key head.
/// Heads of q, dq, dout and out lie head_dim columns apart, those of lse 1.
struct AttentionBackwardPiece {
  float* dq;       // null: not wanted
  float *dk, *dv;  // null: not wanted
  const float *dout, *out, *lse, *q, *k, *v;
  std::int64_t dq_stride, dk_stride, dv_stride;
  std::int64_t dout_stride, out_stride, lse_stride, q_stride, k_stride, v_stride;
  const std::int32_t* positions;
  std::int64_t queries, keys, first_key, head_dim, group;
  float scale;
  float* scratch;  // backward_scratch(head_dim) floats
};

/// The functions of attention_tiles.inc, compiled once per instruction set.
struct AttentionTiles {
  std::int64_t (*forward_scratch)(std::int64_t queries, std::int64_t head_dim);
  void (*forward)(const AttentionForwardPiece& piece);
  std::int64_t (*backward_scratch)(std::int64_t head_dim);
  void (*backward)(const AttentionBackwardPiece& piece);
};

}  // namespace lacuna
