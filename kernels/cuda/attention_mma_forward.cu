#include "kernels/cuda/attention_mma.cuh"
#include "kernels/cuda/dispatch.h"

namespace lacuna {
namespace mma {
namespace {

// Each warp has two fragments' rows, so that every key and value read from shared memory serves two
// products: with one, reading would take longer than multiplying.
constexpr int kFragments = 2, kWarpRows = kFragments * kRows;
constexpr int kQueries = kWarps * kWarpRows;
/// As many as leave room in registers for a tile's scores beside the sums.
template <int D>
constexpr int kKeysOf = D == 64 ? 64 : 32;

/// A tile of queries, one of keys and one of values.
template <int D>
constexpr std::size_t shared_bytes() {
  return std::size_t{kQueries + 2 * kKeysOf<D>} * D * sizeof(BFloat16);
}

/// Values are on their way while queries are multiplied by keys, the next keys while values are
/// multiplied by the weights.
template <int D>
__global__ void __launch_bounds__(kThreads) forward_kernel(AttentionArguments<BFloat16> a) {
  constexpr int kKeys = kKeysOf<D>;
  const AttentionTile tile = tile_in_slot(a.query_offsets, a.segments, int(blockIdx.x), kQueries);
  if (tile.count == 0) return;
  auto* queries = dynamic_shared<BFloat16>();
  BFloat16* key_tile = queries + kQueries * D;
  BFloat16* value_tile = key_tile + kKeys * D;
  const int lane = int(threadIdx.x) % kWarpSize, row = int(threadIdx.x) / kWarpSize * kWarpRows;
  const int group = lane / 4, member = lane % 4, head = int(blockIdx.y);
  const int column = head * D;
  const int kv_column = head / (a.heads / a.kv_heads) * D;
  const int first_key = a.key_offsets[tile.segment];
  const int keys = a.key_offsets[tile.segment + 1] - first_key;
  const KeyTiles tiles(hull_of(a, tile.first, tile.count, first_key), kKeys);
  // Registers are scarce here: what all rows of a warp see waits in shared memory. What the single
  // rows see is read again where a tile needs it.
  __shared__ Pack<std::int32_t, 4> cores[kWarps];
  const int warp = row / kWarpRows, left = tile.count - row;
  const KeyIntervals core =
      core_of(a, tile.first + row, left < kWarpRows ? left : kWarpRows, first_key);
  if (lane == 0)
    store_pack<4>(cores[warp].v,
                  Pack<std::int32_t, 4>{{core.begin0, core.end0, core.begin1, core.end1}});
  __syncwarp();

  const auto load_keys = [&](int t) {
    if (t < tiles.count) {
      const int begin = tiles[t] * kKeys;
      load_tile<D, kKeys>(key_tile, a.k + (first_key + begin) * a.k_stride + kv_column, a.k_stride,
                          keys - begin);
    }
    cp_async_commit();
  };
  load_tile<D, kQueries>(queries, a.q + tile.first * a.q_stride + column, a.q_stride, tile.count);
  load_keys(0);

  float max[kFragments][2], total[kFragments][2], sums[kFragments][D / 8][4] = {};
#pragma unroll
  for (int f = 0; f < kFragments; ++f)
    for (int half = 0; half < 2; ++half) {
      max[f][half] = -INFINITY;
      total[f][half] = 0;
    }
  const float factor = a.scale * kLog2E;
  for (int t = 0; t < tiles.count; ++t) {
    const int begin = tiles[t] * kKeys;
    cp_async_wait<0>();
    __syncthreads();  // these keys are here, and nobody reads the last values any more
    load_tile<D, kKeys>(value_tile, a.v + (first_key + begin) * a.v_stride + kv_column, a.v_stride,
                        keys - begin);
    cp_async_commit();
    float scores[kFragments][kKeys / 8][4];
    multiply_by_rows<D>(scores, queries, row, key_tile);
    cp_async_wait<0>();
    __syncthreads();  // these values are here, and nobody reads the keys any more
    load_keys(t + 1);
    // Most tiles are seen whole by all rows of a warp: nothing to compare there.
    if (!sees_all(intervals(load_pack<4>(cores[warp].v)), begin, begin + kKeys)) {
#pragma unroll
      for (int f = 0; f < kFragments; ++f)
        for (int half = 0; half < 2; ++half) {
          const int r = row + f * kRows + half * 8 + group;
          if (r >= tile.count) continue;
          const KeyIntervals seen = keys_of(a, tile.first + r, first_key);
          for (int n = 0; n < kKeys / 8; ++n)
            for (int i = 0; i < 2; ++i)
              if (!sees(seen, begin + n * 8 + 2 * member + i))
                scores[f][n][2 * half + i] = -INFINITY;
        }
    }
    online_softmax<D>(scores, max, total, sums, factor);
    add_weighted_rows<D>(sums, scores, value_tile);
  }
  cp_async_wait<0>();
#pragma unroll
  for (int f = 0; f < kFragments; ++f) {
    const int first = row + f * kRows;
    for (int half = 0; half < 2; ++half) {
      total[f][half] = row_sum(total[f][half]);
      const int r = first + half * 8 + group;
      if (member == 0 && r < tile.count)
        a.lse[std::int64_t{tile.first + r} * a.heads + head] =
            (max[f][half] + log2f(total[f][half])) * kLn2;
    }
    store_rows<D>(a.out + (tile.first + first) * a.out_stride + column, a.out_stride,
                  tile.count - first, sums[f], queries, first,
                  [&](int half) { return 1.0f / total[f][half]; });
  }
}

template <int D>
void forward(const char* op, CUstream_st* stream, const AttentionArguments<BFloat16>& a,
             std::int64_t queries) {
  const auto slots = unsigned(queries ? tile_slots(queries, a.segments, kQueries) : 0);
  launch({op, dim3(slots, unsigned(a.heads)), kThreads, shared_bytes<D>(), stream},
         forward_kernel<D>, a);
}

}  // namespace
}  // namespace mma

void attention_mma_forward(const char* op, CUstream_st* stream,
                           const AttentionArguments<BFloat16>& a, std::int64_t queries) {
  if (a.head_dim == 64)
    mma::forward<64>(op, stream, a, queries);
  else
    mma::forward<128>(op, stream, a, queries);
}

}  // namespace lacuna
