#include "kernels/cuda/attention_mma.cuh"
#include "kernels/cuda/dispatch.h"

// Few queries and many keys (a step of decoding with a cache): the keys of a segment are cut among
// blocks too, each of which leaves a softmax of its own; then a warp for each query and head puts
// them together (flash-decoding, https://crfm.stanford.edu/2023/10/12/flashdecoding.html). The
// heads that share a key head are rows of one tile, which read its keys and values once.

namespace lacuna {
namespace mma {
namespace {

/// Rows of a tile: of a query, those of all heads of a group, then of the next query.
constexpr int kTileRows = kWarps * kRows;
constexpr int kKeys = 64;
// Keys of a block, from the segment's first on: a sequence's result does not depend on the others
// in its batch. More of them where there would be too many blocks to put together.
constexpr int kLeastSplit = 256, kMostSplits = 16;

/// Keys per block of a segment of `keys`: whole tiles.
__host__ __device__ constexpr int split_keys(int keys) {
  const int split = (keys + kMostSplits * kKeys - 1) / (kMostSplits * kKeys) * kKeys;
  return split > kLeastSplit ? split : kLeastSplit;
}
/// No segment of `keys` keys in all has more blocks.
constexpr std::int64_t most_splits(std::int64_t keys) {
  const std::int64_t splits = divided_up(keys, kLeastSplit);
  return splits < kMostSplits ? splits : kMostSplits;
}

/// Softmaxes over the keys of a block each, of pairs of a query and a head: sums [pairs, splits, D]
/// of exp2(score - max) v, and [pairs, splits] the maxima and the sums of exp2(score - max). Scores
/// are in units of log 2.
struct Partials {
  float* sums;
  float *max, *total;
  int splits;
};

/// [begin, end) of both.
__device__ __forceinline__ KeyIntervals clipped(const KeyIntervals& k, int begin, int end) {
  const auto clip = [&](int x) { return x < begin ? begin : x < end ? x : end; };
  return {clip(k.begin0), clip(k.end0), clip(k.begin1), clip(k.end1)};
}

template <int D>
__global__ void __launch_bounds__(kThreads)
    split_kernel(AttentionArguments<BFloat16> a, Partials partials) {
  const int heads_each = a.heads / a.kv_heads, kv_head = int(blockIdx.y);
  const AttentionTile tile =
      tile_in_slot(a.query_offsets, a.segments, int(blockIdx.x), kTileRows / heads_each);
  if (tile.count == 0) return;
  const int first_key = a.key_offsets[tile.segment];
  const int keys = a.key_offsets[tile.segment + 1] - first_key;
  const int split = split_keys(keys), split_begin = int(blockIdx.z) * split;
  if (split_begin >= keys) return;
  const int split_end = split_begin + split < keys ? split_begin + split : keys;
  const int rows = tile.count * heads_each;

  auto* queries = dynamic_shared<BFloat16>();
  BFloat16* key_tile = queries + kTileRows * D;
  BFloat16* value_tile = key_tile + kKeys * D;
  const int lane = int(threadIdx.x) % kWarpSize, row = int(threadIdx.x) / kWarpSize * kRows;
  const int group = lane / 4, member = lane % 4, kv_column = kv_head * D;
  const auto query_of = [&](int r) { return tile.first + r / heads_each; };
  const auto head_of = [&](int r) { return kv_head * heads_each + r % heads_each; };
  const KeyTiles tiles(
      clipped(hull_of(a, tile.first, tile.count, first_key), split_begin, split_end), kKeys);
  // Of the warp's rows, perhaps none.
  const int last = row + kRows < rows ? row + kRows : rows;
  const KeyIntervals core =
      core_of(a, query_of(row), last > row ? query_of(last - 1) + 1 - query_of(row) : 0, first_key);

  const auto load_keys = [&](int t) {
    if (t < tiles.count) {
      const int begin = tiles[t] * kKeys;
      load_tile<D, kKeys>(key_tile, a.k + (first_key + begin) * a.k_stride + kv_column, a.k_stride,
                          keys - begin);
    }
    cp_async_commit();
  };
  constexpr int kChunks = D / 8;
  for (int i = int(threadIdx.x); i < kTileRows * kChunks; i += kThreads) {
    const int r = i / kChunks, c = i % kChunks;
    const BFloat16* from = r < rows ? a.q + query_of(r) * a.q_stride + head_of(r) * D + c * 8 : a.q;
    cp_async_16(shared_address(chunk<D>(queries, r, c)), from, r < rows ? 16 : 0);
  }
  load_keys(0);

  float max[1][2] = {{-INFINITY, -INFINITY}}, total[1][2] = {}, sums[1][D / 8][4] = {};
  for (int t = 0; t < tiles.count; ++t) {
    const int begin = tiles[t] * kKeys;
    cp_async_wait<0>();
    __syncthreads();  // these keys are here, and nobody reads the last values any more
    load_tile<D, kKeys>(value_tile, a.v + (first_key + begin) * a.v_stride + kv_column, a.v_stride,
                        keys - begin);
    cp_async_commit();
    float scores[1][kKeys / 8][4];
    if (row < rows) multiply_by_rows<D>(scores, queries, row, key_tile);
    cp_async_wait<0>();
    __syncthreads();  // these values are here, and nobody reads the keys any more
    load_keys(t + 1);
    if (row >= rows) continue;
    if (!sees_all(core, begin, begin + kKeys)) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int r = row + half * 8 + group;
        if (r >= rows) continue;
        const KeyIntervals seen = keys_of(a, query_of(r), first_key);
        for (int n = 0; n < kKeys / 8; ++n)
          for (int i = 0; i < 2; ++i)
            if (!sees(seen, begin + n * 8 + 2 * member + i)) scores[0][n][2 * half + i] = -INFINITY;
      }
    }
    online_softmax<D>(scores, max, total, sums, a.scale * kLog2E);
    add_weighted_rows<D>(sums, scores, value_tile);
  }
  cp_async_wait<0>();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float row_total = row_sum(total[0][half]);
    const int r = row + half * 8 + group;
    if (r >= rows) continue;
    const std::int64_t at =
        (std::int64_t{query_of(r)} * a.heads + head_of(r)) * partials.splits + int(blockIdx.z);
    if (member == 0) {
      partials.max[at] = max[0][half];
      partials.total[at] = row_total;
    }
    for (int n = 0; n < D / 8; ++n)
      store_pack<2>(partials.sums + at * D + n * 8 + 2 * member,
                    Pack<float, 2>{{sums[0][n][2 * half], sums[0][n][2 * half + 1]}});
  }
}

/// The segment that has query `query`.
__device__ __forceinline__ int segment_of(const AttentionMask& a, int query) {
  int low = 0, high = a.segments;  // the last one that does not begin after it
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (a.query_offsets[middle] <= query ? low : high) = middle;
  }
  return low;
}

/// A warp per pair of a query and a head; blocks of keys in ascending order.
template <int D>
__global__ void combine_kernel(AttentionArguments<BFloat16> a, Partials partials,
                               std::int64_t pairs) {
  constexpr int kEach = D / kWarpSize;
  const std::int64_t pair = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kWarpSize;
  if (pair >= pairs) return;
  const int query = int(pair / a.heads), lane = int(threadIdx.x) % kWarpSize;
  const int segment = segment_of(a, query);
  const int keys = a.key_offsets[segment + 1] - a.key_offsets[segment], split = split_keys(keys);
  const int count = (keys + split - 1) / split;
  const std::int64_t first = pair * partials.splits;
  float max = -INFINITY;
  for (int i = 0; i < count; ++i) max = fmaxf(max, partials.max[first + i]);
  float total = 0, sums[kEach] = {};
  for (int i = 0; i < count; ++i) {
    const float part_max = partials.max[first + i];
    if (part_max == -INFINITY) continue;  // none of its keys is seen
    const float weight = fast_exp2(part_max - max);
    total += partials.total[first + i] * weight;
    const auto part = load_pack<kEach>(partials.sums + (first + i) * D + lane * kEach);
    for (int d = 0; d < kEach; ++d) sums[d] += part.v[d] * weight;
  }
  const float inverse = 1.0f / total;
  Pack<BFloat16, kEach> out;
  for (int d = 0; d < kEach; ++d) out.v[d] = narrow<BFloat16>(sums[d] * inverse);
  store_pack<kEach>(a.out + query * a.out_stride + pair % a.heads * D + lane * kEach, out);
  if (lane == 0) a.lse[pair] = (max + log2f(total)) * kLn2;
}

template <int D>
void split_forward(const char* op, CUstream_st* stream, const AttentionArguments<BFloat16>& a,
                   std::int64_t queries, std::int64_t keys, float* workspace) {
  const std::int64_t pairs = queries * a.heads, splits = most_splits(keys);
  const Partials partials{workspace, workspace + pairs * splits * D,
                          workspace + pairs * splits * (D + 1), int(splits)};
  const std::int64_t slots = tile_slots(queries, a.segments, kTileRows / (a.heads / a.kv_heads));
  constexpr std::size_t kShared = std::size_t{kTileRows + 2 * kKeys} * D * sizeof(BFloat16);
  launch({op, dim3(unsigned(slots), unsigned(a.kv_heads), unsigned(splits)), kThreads, kShared,
          stream},
         split_kernel<D>, a, partials);
  launch({op, blocks_for_vector(pairs * kWarpSize, kThreads, 1), kThreads, 0, stream},
         combine_kernel<D>, a, partials, pairs);
}

}  // namespace
}  // namespace mma

bool attention_split_is_wanted(std::int64_t queries, std::int64_t keys, const AttentionShape& s,
                               int multiprocessors) {
  const std::int64_t heads_each = s.heads / s.kv_heads, segments = s.query_offsets.count() - 1;
  if (queries == 0 || heads_each > mma::kTileRows) return false;
  const std::int64_t tiles = tile_slots(queries, segments, mma::kTileRows / int(heads_each));
  return keys >= 8 * queries && mma::most_splits(keys) > 1 &&
         tiles * s.kv_heads < 2 * std::int64_t{multiprocessors};
}

std::int64_t attention_split_workspace(std::int64_t queries, std::int64_t keys,
                                       const AttentionShape& s) {
  return queries * s.heads * mma::most_splits(keys) * (s.head_dim + 2) *
         std::int64_t{sizeof(float)};
}

void attention_split_forward(const char* op, CUstream_st* stream,
                             const AttentionArguments<BFloat16>& a, std::int64_t queries,
                             std::int64_t keys, void* workspace) {
  auto* floats = static_cast<float*>(workspace);
  if (a.head_dim == 64)
    mma::split_forward<64>(op, stream, a, queries, keys, floats);
  else
    mma::split_forward<128>(op, stream, a, queries, keys, floats);
}

}  // namespace lacuna
