#pragma once
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/world.h"

// What the attention kernels have in common. Rows of a segment are cut into tiles of fixed height;
// one block works on one tile of queries or of keys, and, of the heads, on blockIdx.y.

namespace lacuna {

/// AttentionShape for kernels. Addresses are of row 0, head 0; strides in elements.
template <class T>
struct AttentionArguments {
  T *out, *dq, *dk, *dv;
  float *lse, *delta;  // [Nq,H]; delta[i,h] = sum_d dout[i,h,d] out[i,h,d]
  const T *q, *k, *v, *dout;
  std::int64_t out_stride, dq_stride, dk_stride, dv_stride;
  std::int64_t q_stride, k_stride, v_stride, dout_stride;
  const std::int32_t *query_offsets, *key_offsets;
  const std::int32_t* positions;  // null: every query sees every key of its segment
  int segments, heads, kv_heads, head_dim;
  float scale;  // 1 / sqrt(head_dim)
};

constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

/// Rows [first, first + count) of a tile and the segment they are of.
struct AttentionTile {
  int segment, first, count;
};

/// How many slots tiles_in_slots() hands out for `rows` rows in `segments` segments: a host without
/// the offsets, which are on the device, must launch enough blocks.
constexpr std::int64_t tile_slots(std::int64_t rows, std::int64_t segments, int height) {
  return rows / height + segments;
}

/// The tile of slot `slot`, perhaps of no rows. Segment s gets the slots from offsets[s] / height +
/// s on: as many as it has tiles, or more, since floor(b/h) - floor(a/h) + 1 >= ceil((b-a)/h).
__device__ inline AttentionTile tile_in_slot(const std::int32_t* offsets, int segments, int slot,
                                             int height) {
  int low = 0, high = segments;  // the last segment whose first slot is not after `slot`
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (offsets[middle] / height + middle <= slot)
      low = middle;
    else
      high = middle;
  }
  const int begin = offsets[low], end = offsets[low + 1];
  const int first = begin + (slot - begin / height - low) * height;
  const int left = end - first;
  return {low, first, left < 0 ? 0 : left < height ? left : height};
}

/// The number of keys query row `query` sees: 0..positions[query] of its segment's, or all.
template <class T>
__device__ __forceinline__ int visible_keys(const AttentionArguments<T>& a, int query, int keys) {
  if (!a.positions) return keys;
  const int visible = a.positions[query] + 1;
  return visible < keys ? visible : keys;
}

/// The most keys any of `count` queries from `first` on sees. Every thread of the block calls.
template <class T>
__device__ inline int most_visible_keys(const AttentionArguments<T>& a, int first, int count,
                                        int keys) {
  if (!a.positions) return keys;
  float most = 0;  // exact: positions are far below 2^24
  for (int i = int(threadIdx.x); i < count; i += int(blockDim.x))
    most = fmaxf(most, float(visible_keys(a, first + i, keys)));
  return int(block_max(most));
}

/// Of the tiles of `height` queries of a segment, the range [begin, end) outside which no query
/// sees key `key` or any later one. Every thread of the block calls.
struct TileRange {
  int begin, end;
};
template <class T>
__device__ inline TileRange tiles_that_see(const AttentionArguments<T>& a, int first, int count,
                                           int keys, int key, int height) {
  const int tiles = (count + height - 1) / height;
  if (!a.positions) return {0, tiles};
  float begin = float(tiles), end = 0;
  for (int i = int(threadIdx.x); i < count; i += int(blockDim.x)) {
    if (visible_keys(a, first + i, keys) <= key) continue;
    begin = fminf(begin, float(i / height));
    end = fmaxf(end, float(i / height + 1));
  }
  return {int(-block_max(-begin)), int(block_max(end))};
}

/// delta, a warp per query and head.
template <class T>
__global__ void attention_delta_kernel(AttentionArguments<T> a, std::int64_t pairs) {
  const std::int64_t pair = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kWarpSize;
  if (pair >= pairs) return;
  const std::int64_t query = pair / a.heads, column = pair % a.heads * a.head_dim;
  float sum = 0;
  for (int d = int(threadIdx.x) % kWarpSize; d < a.head_dim; d += kWarpSize)
    sum += widen(a.dout[query * a.dout_stride + column + d]) *
           widen(a.out[query * a.out_stride + column + d]);
  sum = warp_sum(sum);
  if (threadIdx.x % kWarpSize == 0) a.delta[pair] = sum;
}

/// Any head width up to 256, f32 or bf16, any alignment: attention_simple.cu.
template <class T>
void attention_simple_forward(const char* op, CUstream_st* stream, const AttentionArguments<T>& a,
                              std::int64_t queries);
template <class T>
void attention_simple_backward(const char* op, CUstream_st* stream, const AttentionArguments<T>& a,
                               std::int64_t queries, std::int64_t keys);
/// Bytes of shared memory those need.
std::size_t attention_simple_shared(int head_dim, bool backward);

/// bf16 on tensor cores; head widths 64 and 128, rows in whole 16-byte packs: attention_mma_….cu.
void attention_mma_forward(const char* op, CUstream_st* stream,
                           const AttentionArguments<BFloat16>& a, std::int64_t queries);
void attention_mma_backward(const char* op, CUstream_st* stream,
                            const AttentionArguments<BFloat16>& a, std::int64_t queries,
                            std::int64_t keys);

/// Whether the device runs code of sm_90a: a build for sm_80 or sm_90 holds none of wgmma's. Waits.
bool has_hopper_code(Device& device);
/// The same by wgmma and TMA, for sm_90a: attention_hopper_….cu. Where the device runs other code
/// of them, they trap.
void attention_hopper_forward(const char* op, CUstream_st* stream,
                              const AttentionArguments<BFloat16>& a, std::int64_t queries,
                              std::int64_t keys);
void attention_hopper_backward(const char* op, CUstream_st* stream,
                               const AttentionArguments<BFloat16>& a, std::int64_t queries,
                               std::int64_t keys);

}  // namespace lacuna
