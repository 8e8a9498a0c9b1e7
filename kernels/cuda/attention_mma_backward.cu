#include "kernels/cuda/attention_mma.cuh"
#include "kernels/cuda/dispatch.h"

// Two kernels, one by keys (dk, dv) and one by queries (dq). Scores are computed in both, seven
// products instead of five, but every sum belongs to one warp and has a fixed order: no atomics.

namespace lacuna {
namespace mma {
namespace {

// sm_120's shared memory has room for two blocks. With that as launch bound ptxas does not spill
// registers to make room for a third; other architectures do not spill and need no bound.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
#define LACUNA_BACKWARD_BOUNDS __launch_bounds__(kThreads, 2)
#else
#define LACUNA_BACKWARD_BOUNDS __launch_bounds__(kThreads)
#endif

/// A block's own rows, and those of the tiles it walks over: fewer where registers are scarce.
constexpr int kOwn = kWarps * kRows;
template <int D>
constexpr int kOther = D == 64 ? 64 : 32;

/// What a tile of queries brings besides q and dout, for each of them.
template <int D>
struct QueryScalars {
  float lse[kOther<D>], delta[kOther<D>];
  Pack<std::int32_t, 4> keys[kOther<D>];  // KeyIntervals, as rows of the key tensor
};

template <int D>
constexpr std::size_t rows_bytes() {  // two own tiles, two stages of two others
  return std::size_t{2 * kOwn + 4 * kOther<D>} * D * sizeof(BFloat16);
}
template <int D>
constexpr std::size_t keys_shared_bytes() {
  return rows_bytes<D>() + 2 * sizeof(QueryScalars<D>);
}

/// Each warp 16 keys of key head blockIdx.y. Scores are transposed, [keys, queries], so that dk and
/// dv stay in registers; steps run over the query heads that share the key head and, for each, over
/// the tiles of queries that see any of these keys.
template <int D>
__global__ void LACUNA_BACKWARD_BOUNDS backward_keys_kernel(AttentionArguments<BFloat16> a) {
  constexpr int kQueries = kOther<D>;
  const AttentionTile tile = tile_in_slot(a.key_offsets, a.segments, int(blockIdx.x), kOwn);
  if (tile.count == 0) return;
  auto* own_k = dynamic_shared<BFloat16>();
  BFloat16* own_v = own_k + kOwn * D;
  BFloat16* q_tiles = own_v + kOwn * D;
  BFloat16* dout_tiles = q_tiles + 2 * kQueries * D;
  auto* scalars = reinterpret_cast<QueryScalars<D>*>(dout_tiles + 2 * kQueries * D);
  const int lane = int(threadIdx.x) % kWarpSize, row = int(threadIdx.x) / kWarpSize * kRows;
  const int group = lane / 4, member = lane % 4;
  const std::int64_t kv_column = std::int64_t{blockIdx.y} * D;
  const int first_key = a.key_offsets[tile.segment], own_key = tile.first - first_key;
  const QuerySteps steps(a, tile.segment, kQueries, int(blockIdx.y), own_key, own_key + tile.count);

  const auto load_step = [&](const QuerySteps::Step& step, int stage) {
    if (steps.exists(step)) {
      const int begin = steps.begin(step), left = steps.queries - begin, head = step.head;
      const std::int64_t query = steps.first_query + begin, column = std::int64_t{head} * D;
      load_tile<D, kQueries>(q_tiles + stage * kQueries * D, a.q + query * a.q_stride + column,
                             a.q_stride, left);
      load_tile<D, kQueries>(dout_tiles + stage * kQueries * D,
                             a.dout + query * a.dout_stride + column, a.dout_stride, left);
      const int i = int(threadIdx.x);
      if (i < kQueries) {
        const bool exists = i < left;
        const std::int64_t at = (query + (exists ? i : 0)) * a.heads + head;
        cp_async_4(shared_address(&scalars[stage].lse[i]), a.lse + at, exists);
        cp_async_4(shared_address(&scalars[stage].delta[i]), a.delta + at, exists);
        // Zeros, which are no keys, for queries that do not exist.
        cp_async_16(shared_address(&scalars[stage].keys[i]),
                    a.query_keys + (query + (exists ? i : 0)) * 4, exists ? 16 : 0);
      }
    }
    cp_async_commit();
  };
  load_tile<D, kOwn>(own_k, a.k + tile.first * a.k_stride + kv_column, a.k_stride, tile.count);
  load_tile<D, kOwn>(own_v, a.v + tile.first * a.v_stride + kv_column, a.v_stride, tile.count);
  QuerySteps::Step ahead = steps.first();
  load_step(ahead, 0);

  float dk[1][D / 8][4] = {}, dv[1][D / 8][4] = {};
  for (int stage = 0; steps.exists(ahead); stage ^= 1) {
    steps.advance(ahead);
    __syncthreads();  // nobody reads the stage that is filled next any more
    load_step(ahead, stage ^ 1);
    cp_async_wait<1>();
    __syncthreads();
    BFloat16* q = q_tiles + stage * kQueries * D;
    BFloat16* dout = dout_tiles + stage * kQueries * D;
    const QueryScalars<D>& scalar = scalars[stage];
    float p[1][kQueries / 8][4], ds[1][kQueries / 8][4];
    multiply_by_rows<D>(p, own_k, row, q);
    for (int n = 0; n < kQueries / 8; ++n)
      for (int i = 0; i < 4; ++i) {
        const int query = n * 8 + 2 * member + i % 2;
        p[0][n][i] = fast_exp2((p[0][n][i] * a.scale - scalar.lse[query]) * kLog2E);
      }
    // Most tiles of queries see all keys of a warp: nothing to compare there.
    const int warp_key = tile.first + row;
    bool whole = true;
    for (int i = lane; i < kQueries; i += kWarpSize)
      whole = whole && sees_all(intervals(scalar.keys[i]), warp_key, warp_key + kRows);
    if (!warp_all(whole)) {
      for (int n = 0; n < kQueries / 8; ++n)
        for (int i = 0; i < 4; ++i)
          if (!sees(intervals(scalar.keys[n * 8 + 2 * member + i % 2]),
                    warp_key + group + i / 2 * 8))
            p[0][n][i] = 0.0f;
    }
    add_weighted_rows<D>(dv, p, dout);
    multiply_by_rows<D>(ds, own_v, row, dout);
    for (int n = 0; n < kQueries / 8; ++n)
      for (int i = 0; i < 4; ++i)
        ds[0][n][i] = p[0][n][i] * (ds[0][n][i] - scalar.delta[n * 8 + 2 * member + i % 2]);
    add_weighted_rows<D>(dk, ds, q);
  }
  cp_async_wait<0>();
  __syncthreads();
  store_rows<D>(a.dk + (tile.first + row) * a.dk_stride + kv_column, a.dk_stride, tile.count - row,
                dk[0], own_k, row, [&](int) { return a.scale; });
  store_rows<D>(a.dv + (tile.first + row) * a.dv_stride + kv_column, a.dv_stride, tile.count - row,
                dv[0], own_v, row, [](int) { return 1.0f; });
}

/// Each warp 16 queries.
template <int D>
__global__ void LACUNA_BACKWARD_BOUNDS backward_queries_kernel(AttentionArguments<BFloat16> a) {
  constexpr int kKeys = kOther<D>;
  const AttentionTile tile = tile_in_slot(a.query_offsets, a.segments, int(blockIdx.x), kOwn);
  if (tile.count == 0) return;
  auto* own_q = dynamic_shared<BFloat16>();
  BFloat16* own_dout = own_q + kOwn * D;
  BFloat16* k_tiles = own_dout + kOwn * D;
  BFloat16* v_tiles = k_tiles + 2 * kKeys * D;
  const int lane = int(threadIdx.x) % kWarpSize, row = int(threadIdx.x) / kWarpSize * kRows;
  const int group = lane / 4, member = lane % 4, head = int(blockIdx.y);
  const std::int64_t column = std::int64_t{head} * D;
  const std::int64_t kv_column = std::int64_t{head / (a.heads / a.kv_heads)} * D;
  const int first_key = a.key_offsets[tile.segment];
  const int keys = a.key_offsets[tile.segment + 1] - first_key;
  const KeyTiles tiles(hull_of(a, tile.first, tile.count, first_key), kKeys);

  const auto load_step = [&](int t) {
    if (t < tiles.count) {
      const int stage = t % 2, begin = tiles[t] * kKeys;
      const std::int64_t key = first_key + begin;
      load_tile<D, kKeys>(k_tiles + stage * kKeys * D, a.k + key * a.k_stride + kv_column,
                          a.k_stride, keys - begin);
      load_tile<D, kKeys>(v_tiles + stage * kKeys * D, a.v + key * a.v_stride + kv_column,
                          a.v_stride, keys - begin);
    }
    cp_async_commit();
  };
  load_tile<D, kOwn>(own_q, a.q + tile.first * a.q_stride + column, a.q_stride, tile.count);
  load_tile<D, kOwn>(own_dout, a.dout + tile.first * a.dout_stride + column, a.dout_stride,
                     tile.count);
  load_step(0);

  KeyIntervals visible[2];
  float lse[2], delta[2], dq[1][D / 8][4] = {};
  for (int half = 0; half < 2; ++half) {
    const int r = row + group + 8 * half;
    const bool exists = r < tile.count;
    const std::int64_t at = std::int64_t{tile.first + r} * a.heads + head;
    visible[half] = exists ? keys_of(a, tile.first + r, first_key) : all_keys(keys);
    lse[half] = exists ? a.lse[at] : 0.0f;
    delta[half] = exists ? a.delta[at] : 0.0f;
  }
  for (int t = 0; t < tiles.count; ++t) {
    __syncthreads();
    load_step(t + 1);
    cp_async_wait<1>();
    __syncthreads();
    const int stage = t % 2, begin = tiles[t] * kKeys;
    BFloat16* k = k_tiles + stage * kKeys * D;
    float p[1][kKeys / 8][4], ds[1][kKeys / 8][4];
    multiply_by_rows<D>(p, own_q, row, k);
    multiply_by_rows<D>(ds, own_dout, row, v_tiles + stage * kKeys * D);
    const bool whole =
        sees_all(visible[0], begin, begin + kKeys) && sees_all(visible[1], begin, begin + kKeys);
    const bool all_whole = warp_all(whole);
    for (int n = 0; n < kKeys / 8; ++n)
      for (int i = 0; i < 4; ++i) {
        const int half = i / 2, key = begin + n * 8 + 2 * member + i % 2;
        const float weight = all_whole || sees(visible[half], key)
                                 ? fast_exp2((p[0][n][i] * a.scale - lse[half]) * kLog2E)
                                 : 0.0f;
        ds[0][n][i] = weight * (ds[0][n][i] - delta[half]);
      }
    add_weighted_rows<D>(dq, ds, k);
  }
  cp_async_wait<0>();
  __syncthreads();
  store_rows<D>(a.dq + (tile.first + row) * a.dq_stride + column, a.dq_stride, tile.count - row,
                dq[0], own_q, row, [&](int) { return a.scale; });
}

template <int D>
void backward(const char* op, CUstream_st* stream, const AttentionArguments<BFloat16>& a,
              std::int64_t queries, std::int64_t keys) {
  const auto slots = [&](std::int64_t rows) {
    return unsigned(rows ? tile_slots(rows, a.segments, kOwn) : 0);
  };
  attention_hulls(op, stream, a, queries, kOther<D>);
  launch({op, dim3(slots(keys), unsigned(a.kv_heads)), kThreads, keys_shared_bytes<D>(), stream},
         backward_keys_kernel<D>, a);
  launch({op, dim3(slots(queries), unsigned(a.heads)), kThreads, rows_bytes<D>(), stream},
         backward_queries_kernel<D>, a);
}

}  // namespace
}  // namespace mma

void attention_mma_backward(const char* op, CUstream_st* stream,
                            const AttentionArguments<BFloat16>& a, std::int64_t queries,
                            std::int64_t keys) {
  if (a.head_dim == 64)
    mma::backward<64>(op, stream, a, queries, keys);
  else
    mma::backward<128>(op, stream, a, queries, keys);
}

}  // namespace lacuna
