#pragma once
#include <optional>

#include "kernels/cuda/reduce.cuh"
#include "kernels/key_intervals.h"
#include "kernels/ops.h"
#include "kernels/platform/intrinsics.h"

// What the attention kernels have in common. Rows of a segment are cut into tiles of fixed height;
// one block works on one tile of queries or of keys, and, of the heads, on blockIdx.y.

namespace lacuna {

/// The attention mask: the tensors of AttentionShape.
struct AttentionMask {
  const std::int32_t *query_offsets, *key_offsets;
  const std::int32_t* query_keys;  // [Nq,4]
  KeyIntervals* hulls;             // of each tile of queries, by slot; for the backward pass
  int segments;
};

/// AttentionShape for kernels. Addresses are of row 0, head 0; strides in elements.
template <class T>
struct AttentionArguments : AttentionMask {
  T *out, *dq, *dk, *dv;
  float *lse, *delta;  // [Nq,H]; delta[i,h] = sum_d dout[i,h,d] out[i,h,d]
  const T *q, *k, *v, *dout;
  std::int64_t out_stride, dq_stride, dk_stride, dv_stride;
  std::int64_t q_stride, k_stride, v_stride, dout_stride;
  int heads, kv_heads, head_dim;
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

// Keys of a segment are counted from its first one, so intervals are too.

__device__ __forceinline__ KeyIntervals intervals(const Pack<std::int32_t, 4>& k) {
  return {k.v[0], k.v[1], k.v[2], k.v[3]};
}
/// The same keys, counted from `first`.
__device__ __forceinline__ KeyIntervals counted_from(const KeyIntervals& k, int first) {
  return {k.begin0 - first, k.end0 - first, k.begin1 - first, k.end1 - first};
}
/// What query row `query` sees.
__device__ __forceinline__ KeyIntervals keys_of(const AttentionMask& a, int query, int first_key) {
  return counted_from(intervals(load_pack<4>(a.query_keys + std::int64_t{query} * 4)), first_key);
}
/// Every key of the segment, for rows that do not exist: their results are not used, and they keep
/// no tile from being seen whole.
__device__ __forceinline__ KeyIntervals all_keys(int keys) { return {0, keys, keys, keys}; }

// By & and |: nvcc makes branches of && and ||, one for each score of a tile that is not seen
// whole.
__device__ __forceinline__ bool sees(const KeyIntervals& k, int key) {
  return (int(key >= k.begin0) & int(key < k.end0)) | (int(key >= k.begin1) & int(key < k.end1));
}
/// Whether `k` is all of [begin, end).
__device__ __forceinline__ bool sees_all(const KeyIntervals& k, int begin, int end) {
  return (int(begin >= k.begin0) & int(end <= k.end0)) |
         (int(begin >= k.begin1) & int(end <= k.end1));
}
__device__ __forceinline__ bool sees_any(const KeyIntervals& k, int begin, int end) {
  return (int(begin < k.end0) & int(end > k.begin0)) | (int(begin < k.end1) & int(end > k.begin1));
}

/// What at least one of `count` queries from `first` on sees lies within. Every lane of the warp
/// calls, and gets it.
__device__ inline KeyIntervals hull_of(const AttentionMask& a, int first, int count,
                                       int first_key) {
  constexpr int kMost = 0x7fffffff;
  KeyIntervals h{kMost, 0, kMost, 0};
  for (int i = int(threadIdx.x) % kWarpSize; i < count; i += kWarpSize) {
    const KeyIntervals k = keys_of(a, first + i, first_key);
    h.begin0 = k.begin0 < h.begin0 ? k.begin0 : h.begin0;
    h.end0 = k.end0 > h.end0 ? k.end0 : h.end0;
    if (k.begin1 == k.end1) continue;
    h.begin1 = k.begin1 < h.begin1 ? k.begin1 : h.begin1;
    h.end1 = k.end1 > h.end1 ? k.end1 : h.end1;
  }
  h = {-warp_max(-h.begin0), warp_max(h.end0), -warp_max(-h.begin1), warp_max(h.end1)};
  if (h.begin1 > h.end0 && h.end1 > 0) return h;
  const int end = h.end1 > h.end0 ? h.end1 : h.end0;  // one interval, or two that touch
  return {h.begin0, end, end, end};
}

/// What all of `count` queries from `first` on see by the same one of their intervals, either of
/// which may be empty. Every lane of the warp calls, and gets it.
__device__ inline KeyIntervals core_of(const AttentionMask& a, int first, int count,
                                       int first_key) {
  constexpr int kMost = 0x7fffffff;
  KeyIntervals c{0, kMost, 0, kMost};
  for (int i = int(threadIdx.x) % kWarpSize; i < count; i += kWarpSize) {
    const KeyIntervals k = keys_of(a, first + i, first_key);
    c.begin0 = k.begin0 > c.begin0 ? k.begin0 : c.begin0;
    c.end0 = k.end0 < c.end0 ? k.end0 : c.end0;
    c.begin1 = k.begin1 > c.begin1 ? k.begin1 : c.begin1;
    c.end1 = k.end1 < c.end1 ? k.end1 : c.end1;
  }
  return {warp_max(c.begin0), -warp_max(-c.end0), warp_max(c.begin1), -warp_max(-c.end1)};
}

/// The tiles of `height` keys that a hull touches, in ascending order.
struct KeyTiles {
  int first0, count0, first1, count;

  __device__ __forceinline__ KeyTiles(const KeyIntervals& hull, int height) {
    const int end0 = (hull.end0 + height - 1) / height, end1 = (hull.end1 + height - 1) / height;
    first0 = hull.begin0 / height;
    count0 = end0 - first0;
    first1 = hull.begin1 / height > end0 ? hull.begin1 / height : end0;
    count = count0 + (end1 > first1 ? end1 - first1 : 0);
  }
  __device__ __forceinline__ int operator[](int t) const {
    return t < count0 ? first0 + t : first1 + t - count0;
  }
  __device__ __forceinline__ bool operator==(const KeyTiles& other) const {
    return count == other.count && count0 == other.count0 &&
           (count0 == 0 || first0 == other.first0) && (count == count0 || first1 == other.first1);
  }
  /// How many of them come before `tile`, which is one.
  __device__ __forceinline__ int before(int tile) const {
    return tile < first0 + count0 ? tile - first0 : count0 + tile - first1;
  }
};

/// Steps over the query heads that share a key head and, for each, over the tiles of `height`
/// queries of a segment in which a query may see one of the keys [key_begin, key_end).
struct QuerySteps {
  const KeyIntervals* hulls;  // of all tiles, by slot
  int height, way, first_slot, tiles, first_tile, first_query, queries, key_begin, key_end;
  int kv_head, first_head, last_head;

  struct Step {
    int head, tile;
  };
  /// `way_of_tiles`: 1, the first tiles come first, or -1, the last ones.
  template <class T>
  __device__ QuerySteps(const AttentionArguments<T>& a, int segment, int tile_height,
                        int of_kv_head, int begin, int end, int way_of_tiles = 1)
      : hulls(a.hulls),
        height(tile_height),
        way(way_of_tiles),
        key_begin(begin),
        key_end(end),
        kv_head(of_kv_head) {
    const int heads_each = a.heads / a.kv_heads;
    first_head = kv_head * heads_each;
    last_head = first_head + heads_each - 1;
    first_query = a.query_offsets[segment];
    queries = a.query_offsets[segment + 1] - first_query;
    tiles = (queries + height - 1) / height;
    first_slot = first_query / height + segment;
    first_tile = next_tile(way > 0 ? 0 : tiles - 1);
  }
  __device__ bool is_tile(int t) const { return unsigned(t) < unsigned(tiles); }
  /// The first such tile from `t` on; none of the segment's if there is none.
  __device__ int next_tile(int t) const {
    while (is_tile(t) && !sees_any(hulls[first_slot + t], key_begin, key_end)) t += way;
    return t;
  }
  __device__ Step first() const {
    return {is_tile(first_tile) ? first_head : last_head + 1, first_tile};
  }
  __device__ bool exists(const Step& s) const { return s.head <= last_head; }
  __device__ void advance(Step& s) const {
    s.tile = next_tile(s.tile + way);
    if (is_tile(s.tile)) return;
    ++s.head;
    s.tile = first_tile;
  }
  /// How many there are. Every lane of the warp calls, and gets it.
  __device__ int count() const {
    int seen = 0;
    for (int t = int(threadIdx.x) % kWarpSize; t < tiles; t += kWarpSize)
      seen += sees_any(hulls[first_slot + t], key_begin, key_end);
    return warp_sum(seen) * (last_head + 1 - first_head);
  }
  /// Of the tile's queries among the segment's.
  __device__ int begin(const Step& s) const { return s.tile * height; }
  __device__ const KeyIntervals& hull(const Step& s) const { return hulls[slot(s)]; }
  /// Of the tile.
  __device__ int slot(const Step& s) const { return first_slot + s.tile; }
};

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
/// a.hulls[slot] = the hull of the tile in that slot, of tiles of `height` queries.
void attention_hulls(const char* op, CUstream_st* stream, const AttentionMask& a,
                     std::int64_t queries, int height);
/// The least height that the backward kernels ask for, which needs the most hulls.
constexpr int kLeastHullHeight = 32;
/// Bytes of shared memory those need.
std::size_t attention_simple_shared(int head_dim, bool backward);

/// bf16 on tensor cores; head widths 64 and 128, rows in whole 16-byte packs: attention_mma_….cu.
void attention_mma_forward(const char* op, CUstream_st* stream,
                           const AttentionArguments<BFloat16>& a, std::int64_t queries);
/// The same with the keys cut among blocks, for few queries: where tiles of queries and key heads
/// are too few to fill the device. `workspace`: attention_split_workspace() bytes of device memory.
bool attention_split_is_wanted(std::int64_t queries, std::int64_t keys, const AttentionShape& shape,
                               int multiprocessors);
std::int64_t attention_split_workspace(std::int64_t queries, std::int64_t keys,
                                       const AttentionShape& shape);
void attention_split_forward(const char* op, CUstream_st* stream,
                             const AttentionArguments<BFloat16>& a, std::int64_t queries,
                             std::int64_t keys, void* workspace);
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
/// The same with ping-pong scheduling, by a block for each multiprocessor. `clusters`: whether two
/// blocks share what they copy of the keys, at head width 128; without a value, where the masks let
/// it pay. Results are the same bits. `workspace`: kPingpongWorkspace bytes of device memory.
void attention_hopper_pingpong_forward(const char* op, CUstream_st* stream,
                                       const AttentionArguments<BFloat16>& a, std::int64_t queries,
                                       std::int64_t keys, int multiprocessors,
                                       std::optional<bool> clusters, void* workspace);
constexpr std::int64_t kPingpongWorkspace = 32;
void attention_hopper_backward(const char* op, CUstream_st* stream,
                               const AttentionArguments<BFloat16>& a, std::int64_t queries,
                               std::int64_t keys);
/// The same in one kernel, delta included, with `workspace`: attention_hopper_fused_workspace()
/// bytes of device memory, aligned to 256.
void attention_hopper_fused_backward(const char* op, CUstream_st* stream,
                                     const AttentionArguments<BFloat16>& a, std::int64_t queries,
                                     std::int64_t keys, void* workspace);
std::int64_t attention_hopper_fused_workspace(std::int64_t queries, std::int64_t segments,
                                              std::int64_t heads, std::int64_t head_dim);

}  // namespace lacuna
