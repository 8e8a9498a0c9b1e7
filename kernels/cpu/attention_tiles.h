#pragma once
#include <cstdint>

#include "core/tensor.h"
#include "kernels/key_intervals.h"

namespace lacuna {

/// Queries per tile, forward and backward; pieces begin at whole tiles of their segment.
constexpr std::int64_t kAttentionQueryTile = 48;

// One thread's piece of an attention, for `group` query heads of one segment that share a key head:
// those of q, dq, dout and out lie head_dim columns apart, those of lse 1. Pointers are to the
// first row and head. Key j of the piece is row key_row + j of the key tensor, which is how
// intervals count.

/// A range of queries against all keys of their segment, whose packing the heads share.
template <class T>
struct AttentionForwardPiece {
  T* out;
  float* lse;
  const T *q, *k, *v;
  std::int64_t out_stride, lse_stride, q_stride, k_stride, v_stride;
  const KeyIntervals* visible;  // of each query
  const KeyIntervals* hulls;  // of each tile of queries: what at least one of them sees lies within
  std::int64_t queries, keys, key_row, head_dim, group;
  float scale;     // 1 / sqrt(head_dim)
  float* scratch;  // forward_scratch(queries * group, head_dim) floats
};

/// A range of queries against a range of keys.
template <class T>
struct AttentionBackwardPiece {
  T* dq;       // null: not wanted
  T *dk, *dv;  // null: not wanted
  const T *dout, *out, *q, *k, *v;
  const float* lse;
  std::int64_t dq_stride, dk_stride, dv_stride;
  std::int64_t dout_stride, out_stride, lse_stride, q_stride, k_stride, v_stride;
  const KeyIntervals* visible;  // of each query
  const KeyIntervals* hulls;    // of each tile of queries
  std::int64_t queries, keys, key_row, head_dim, group;
  float scale;
  float* scratch;  // backward_scratch(queries * group, head_dim) floats
};

/// The functions of attention_tiles.inc, compiled once per instruction set and float type. Sums are
/// f32. Where bf16 is multiplied in pairs (tile_gemm.inc), attention weights and the gradients of
/// scores are rounded to bf16 for the products they are factors of.
template <class T>
struct AttentionTiles {
  std::int64_t (*forward_scratch)(std::int64_t rows, std::int64_t head_dim);
  void (*forward)(const AttentionForwardPiece<T>& piece);
  std::int64_t (*backward_scratch)(std::int64_t rows, std::int64_t head_dim);
  void (*backward)(const AttentionBackwardPiece<T>& piece);
};

}  // namespace lacuna
