#include "kernels/cuda/attention_hopper.cuh"
#include "kernels/cuda/dispatch.h"

// Two kernels, one by keys (dk, dv) and one by queries (dq), as in attention_mma_backward.cu: seven
// products instead of five, but no sum is shared between blocks, so that its order is fixed.

namespace lacuna {
namespace hopper {
namespace {

constexpr int kCopyingRegisters = 40, kComputingRegisters = 232;
static_assert(registers_fit(kCopyingRegisters, kComputingRegisters));

// --- dk and dv -----------------------------------------------------------------------------------

constexpr int kQueries = 64;
/// Threads of the copying warpgroup that bring what a tile of queries has beside q and dout.
constexpr int kFirstScalarThread = kWarpSize, kScalarThreads = kQueries;

struct QueryScalars {
  float lse[kQueries], delta[kQueries];  // lse times log2 e
  KeyIntervals keys[kQueries];           // of the segment's; none: there is no such query
};
struct KeysBarriers {
  MemoryBarrier own, here[kStages], read[kStages], tail_copied;
};
/// Own keys, own values, then for each stage queries and their gradients.
template <int D>
constexpr int kQueryTile = tile_bytes<D>(kQueries);
template <int D>
constexpr int kScalarsAt = 2 * tile_bytes<D>(kOwn) + 2 * kStages* kQueryTile<D>;
template <int D>
constexpr int kKeysBarriersAt = kScalarsAt<D> + kStages* int(sizeof(QueryScalars));
template <int D>
constexpr std::size_t kKeysShared = kSlack + kKeysBarriersAt<D> + sizeof(KeysBarriers);
static_assert(sizeof(QueryScalars) % 8 == 0);

/// One warp.
template <int D>
__device__ __forceinline__ void copy_query_tiles(unsigned char* memory, KeysBarriers* barriers,
                                                 const TensorMap& q_map, const TensorMap& k_map,
                                                 const TensorMap& v_map, const TensorMap& dout_map,
                                                 const QuerySteps& steps, int first_key,
                                                 int kv_column) {
  constexpr int kRowsTile = tile_bytes<D>(kWarpgroupRows);
  const bool leader = threadIdx.x == 0;
  if (leader) {
    barrier_arrive_expecting(&barriers->own, 2 * tile_bytes<D>(kOwn));
    for (int w = 0; w < kComputing; ++w) {
      const int row = first_key + w * kWarpgroupRows;
      load_tile<D>(memory + w * kRowsTile, kWarpgroupRows, k_map, kv_column, row, &barriers->own);
      load_tile<D>(memory + (kComputing + w) * kRowsTile, kWarpgroupRows, v_map, kv_column, row,
                   &barriers->own);
    }
  }
  unsigned char* tiles = memory + 2 * tile_bytes<D>(kOwn);
  unsigned tails = 0;  // every head's last tile may be one
  QuerySteps::Step step = steps.first();
  for (int i = 0; steps.exists(step); ++i, steps.advance(step)) {
    const int stage = i % kStages, valid = steps.queries - steps.begin(step);
    MemoryBarrier* here = &barriers->here[stage];
    MemoryBarrier* copied = valid < kQueries ? &barriers->tail_copied : here;
    unsigned char* tile = tiles + 2 * stage * kQueryTile<D>;
    if (leader) {
      const int row = steps.first_query + steps.begin(step), column = step.head * D;
      barrier_wait(&barriers->read[stage], unsigned(i / kStages & 1) ^ 1);
      barrier_arrive_expecting(copied, 2 * kQueryTile<D>);
      load_tile<D>(tile, kQueries, q_map, column, row, copied);
      load_tile<D>(tile + kQueryTile<D>, kQueries, dout_map, column, row, copied);
    }
    if (valid < kQueries) clear_tail<D, kQueries, 2>(tile, valid, copied, tails++ & 1, here);
  }
}

__device__ __forceinline__ void copy_scalars(QueryScalars* scalars, KeysBarriers* barriers,
                                             const AttentionArguments<BFloat16>& a,
                                             const QuerySteps& steps, int first_key) {
  const int i = int(threadIdx.x) - kFirstScalarThread;
  QuerySteps::Step step = steps.first();
  for (int s = 0; steps.exists(step); ++s, steps.advance(step)) {
    const int stage = s % kStages, place = steps.begin(step) + i;
    barrier_wait(&barriers->read[stage], unsigned(s / kStages & 1) ^ 1);
    const bool exists = place < steps.queries;
    const int query = steps.first_query + (exists ? place : 0);
    const std::int64_t at = std::int64_t{query} * a.heads + step.head;
    scalars[stage].lse[i] = exists ? a.lse[at] * kLog2E : 0.0f;
    scalars[stage].delta[i] = exists ? a.delta[at] : 0.0f;
    scalars[stage].keys[i] = exists ? keys_of(a, query, first_key) : KeyIntervals{};
    barrier_arrive(&barriers->here[stage]);
  }
}

/// Each warpgroup 64 keys. Scores are transposed, [keys, queries], so that dk and dv stay in
/// registers.
template <int D>
__device__ __forceinline__ void compute_keys(unsigned char* memory, KeysBarriers* barriers,
                                             const AttentionArguments<BFloat16>& a,
                                             const AttentionTile& tile, const QuerySteps& steps) {
  constexpr int kRowsTile = tile_bytes<D>(kWarpgroupRows);
  const int warpgroup = my_warpgroup() - 1, lane = int(threadIdx.x) % kWarpSize;
  const int group = lane / 4, member = lane % 4, own_row = warpgroup * kWarpgroupRows;
  const int row = own_row + int(threadIdx.x) % kWarpgroup / kWarpSize * mma::kRows + group;
  unsigned char* k_tile = memory + warpgroup * kRowsTile;
  unsigned char* v_tile = k_tile + kComputing * kRowsTile;
  const std::uint32_t tiles = window_address(memory + 2 * tile_bytes<D>(kOwn));
  const auto* scalars = reinterpret_cast<const QueryScalars*>(memory + kScalarsAt<D>);
  const float factor = a.scale * kLog2E;

  float dk[D / 2], dv[D / 2];
#pragma unroll
  for (int i = 0; i < D / 2; ++i) dk[i] = dv[i] = 0;
  barrier_wait(&barriers->own, 0);
  const int warp_key = steps.key_begin + row - group;  // the first of 16
  QuerySteps::Step step = steps.first();
  for (int s = 0; steps.exists(step); ++s, steps.advance(step)) {
    const int stage = s % kStages;
    const std::uint32_t q = tiles + 2 * stage * kQueryTile<D>, dout = q + kQueryTile<D>;
    const QueryScalars& scalar = scalars[stage];
    float p[kQueries / 2], ds[kQueries / 2];
    std::uint32_t p_weights[kQueries / 16][4], ds_weights[kQueries / 16][4];
    barrier_wait(&barriers->here[stage], unsigned(s / kStages & 1));
    wgmma_fence(p, ds);
    multiply_by_rows<D, kQueries>(p, window_address(k_tile), q);
    wgmma_commit();
    multiply_by_rows<D, kQueries>(ds, window_address(v_tile), dout);
    wgmma_commit();
    wgmma_wait<1>(p);
#pragma unroll
    for (int i = 0; i < kQueries / 2; ++i)
      p[i] = fast_exp2(p[i] * factor - scalar.lse[i / 4 * 8 + 2 * member + i % 2]);
    // Most tiles of queries see all keys of a warp: nothing to compare there.
    bool whole = true;
    for (int i = lane; i < kQueries; i += kWarpSize)
      whole = whole && sees_all(scalar.keys[i], warp_key, warp_key + mma::kRows);
    if (!warp_all(whole)) {
#pragma unroll
      for (int i = 0; i < kQueries / 2; ++i)
        if (!sees(scalar.keys[i / 4 * 8 + 2 * member + i % 2], warp_key + group + i % 4 / 2 * 8))
          p[i] = 0.0f;
    }
    round_weights<kQueries>(p_weights, p);
    wgmma_wait<0>(ds);
#pragma unroll
    for (int i = 0; i < kQueries / 2; ++i)
      ds[i] = p[i] * (ds[i] - scalar.delta[i / 4 * 8 + 2 * member + i % 2]);
    round_weights<kQueries>(ds_weights, ds);
    wgmma_fence(dv, dk, p_weights, ds_weights);
    add_weighted_rows<D, kQueries>(dv, p_weights, dout);
    add_weighted_rows<D, kQueries>(dk, ds_weights, q);
    wgmma_commit();
    wgmma_wait<0>(dv, dk, p_weights, ds_weights);
    __syncwarp();  // all lanes have read the scalars
    if (lane == 0) barrier_arrive(&barriers->read[stage]);
  }
  sync_computing(warpgroup);  // nobody reads the keys and values any more
  const std::int64_t first = tile.first + own_row, kv_column = std::int64_t{blockIdx.y} * D;
  const int valid = tile.count - own_row;
  store_rows<D>(a.dk + first * a.dk_stride + kv_column, a.dk_stride, valid, dk, k_tile,
                [&](int) { return a.scale; });
  store_rows<D>(a.dv + first * a.dv_stride + kv_column, a.dv_stride, valid, dv, v_tile,
                [](int) { return 1.0f; });
}

template <int D>
__global__ void __launch_bounds__(kThreads, 1)
    backward_keys_kernel(const __grid_constant__ TensorMap q_map,
                         const __grid_constant__ TensorMap k_map,
                         const __grid_constant__ TensorMap v_map,
                         const __grid_constant__ TensorMap dout_map,
                         AttentionArguments<BFloat16> a) {
  if constexpr (kHopperCode) {
    const AttentionTile tile = tile_in_slot(a.key_offsets, a.segments, int(blockIdx.x), kOwn);
    if (tile.count == 0) return;
    unsigned char* memory = aligned_shared();
    auto* barriers = reinterpret_cast<KeysBarriers*>(memory + kKeysBarriersAt<D>);
    const int first_key = a.key_offsets[tile.segment], own_key = tile.first - first_key;
    const QuerySteps steps(a, tile.segment, kQueries, int(blockIdx.y), own_key,
                           own_key + tile.count);
    if (threadIdx.x == 0) {
      barrier_init(&barriers->own, 1);
      for (int s = 0; s < kStages; ++s) {
        barrier_init(&barriers->here[s], 1 + kScalarThreads);
        barrier_init(&barriers->read[s], kComputingWarps);
      }
      barrier_init(&barriers->tail_copied, 1);
      barrier_init_done();
    }
    __syncthreads();
    if (my_warpgroup() == 0) {
      fewer_registers<kCopyingRegisters>();
      const int thread = int(threadIdx.x);
      if (thread < kWarpSize)
        copy_query_tiles<D>(memory, barriers, q_map, k_map, v_map, dout_map, steps, tile.first,
                            int(blockIdx.y) * D);
      if (thread >= kFirstScalarThread && thread < kFirstScalarThread + kScalarThreads)
        copy_scalars(reinterpret_cast<QueryScalars*>(memory + kScalarsAt<D>), barriers, a, steps,
                     first_key);
    } else {
      more_registers<kComputingRegisters>();
      compute_keys<D>(memory, barriers, a, tile, steps);
    }
  } else {
    __trap();
  }
}

// --- dq ------------------------------------------------------------------------------------------

/// As many as leave room in registers.
template <int D>
constexpr int kKeys = D == 64 ? 128 : 64;
struct QueriesBarriers {
  MemoryBarrier own, here[kStages], read[kStages], tail_copied;
};
/// Own queries, own gradients, then for each stage keys and values.
template <int D>
constexpr int kKeyTile = tile_bytes<D>(kKeys<D>);
template <int D>
constexpr int kQueriesBarriersAt = 2 * tile_bytes<D>(kOwn) + 2 * kStages* kKeyTile<D>;
template <int D>
constexpr std::size_t kQueriesShared = kSlack + kQueriesBarriersAt<D> + sizeof(QueriesBarriers);

/// One warp.
template <int D>
__device__ __forceinline__ void copy_key_tiles(unsigned char* memory, QueriesBarriers* barriers,
                                               const TensorMap& q_map, const TensorMap& k_map,
                                               const TensorMap& v_map, const TensorMap& dout_map,
                                               int column, int kv_column, int first_query,
                                               int first_key, int keys, const KeyTiles& tiles) {
  constexpr int kRowsTile = tile_bytes<D>(kWarpgroupRows);
  const bool leader = threadIdx.x == 0;
  if (leader) {
    barrier_arrive_expecting(&barriers->own, 2 * tile_bytes<D>(kOwn));
    for (int w = 0; w < kComputing; ++w) {
      const int row = first_query + w * kWarpgroupRows;
      load_tile<D>(memory + w * kRowsTile, kWarpgroupRows, q_map, column, row, &barriers->own);
      load_tile<D>(memory + (kComputing + w) * kRowsTile, kWarpgroupRows, dout_map, column, row,
                   &barriers->own);
    }
  }
  for (int t = 0; t < tiles.count; ++t) {
    const int stage = t % kStages, begin = tiles[t] * kKeys<D>, valid = keys - begin;
    MemoryBarrier* here = &barriers->here[stage];
    MemoryBarrier* copied = valid < kKeys<D> ? &barriers->tail_copied : here;
    unsigned char* tile = memory + 2 * tile_bytes<D>(kOwn) + 2 * stage * kKeyTile<D>;
    if (leader) {
      const int row = first_key + begin;
      barrier_wait(&barriers->read[stage], unsigned(t / kStages & 1) ^ 1);
      barrier_arrive_expecting(copied, 2 * kKeyTile<D>);
      load_tile<D>(tile, kKeys<D>, k_map, kv_column, row, copied);
      load_tile<D>(tile + kKeyTile<D>, kKeys<D>, v_map, kv_column, row, copied);
    }
    if (valid < kKeys<D>) clear_tail<D, kKeys<D>, 2>(tile, valid, copied, 0, here);  // the last
  }
}

/// Each warpgroup 64 queries.
template <int D>
__device__ __forceinline__ void compute_queries(unsigned char* memory, QueriesBarriers* barriers,
                                                const AttentionArguments<BFloat16>& a,
                                                const AttentionTile& tile, int head, int first_key,
                                                int keys, const KeyTiles& tiles) {
  constexpr int kRowsTile = tile_bytes<D>(kWarpgroupRows), n = kKeys<D>;
  const int warpgroup = my_warpgroup() - 1, lane = int(threadIdx.x) % kWarpSize;
  const int group = lane / 4, member = lane % 4, own_row = warpgroup * kWarpgroupRows;
  const int row = own_row + int(threadIdx.x) % kWarpgroup / kWarpSize * mma::kRows + group;
  unsigned char* q_tile = memory + warpgroup * kRowsTile;
  const std::uint32_t q = window_address(q_tile), dout = q + kComputing * kRowsTile;
  const std::uint32_t key_tiles = window_address(memory + 2 * tile_bytes<D>(kOwn));
  const float factor = a.scale * kLog2E;
  KeyIntervals visible[2];
  float lse[2], delta[2];
  for (int half = 0; half < 2; ++half) {
    const int r = row + 8 * half;
    const bool exists = r < tile.count;
    const std::int64_t at = std::int64_t{tile.first + (exists ? r : 0)} * a.heads + head;
    visible[half] = exists ? keys_of(a, tile.first + r, first_key) : all_keys(keys);
    lse[half] = a.lse[at] * kLog2E;
    delta[half] = a.delta[at];
  }
  float dq[D / 2];
#pragma unroll
  for (int i = 0; i < D / 2; ++i) dq[i] = 0;
  barrier_wait(&barriers->own, 0);
  for (int t = 0; t < tiles.count; ++t) {
    const int stage = t % kStages, begin = tiles[t] * n;
    const std::uint32_t k = key_tiles + 2 * stage * kKeyTile<D>, v = k + kKeyTile<D>;
    float p[n / 2], ds[n / 2];
    std::uint32_t weights[n / 16][4];
    barrier_wait(&barriers->here[stage], unsigned(t / kStages & 1));
    wgmma_fence(p, ds);
    multiply_by_rows<D, n>(p, q, k);
    wgmma_commit();
    multiply_by_rows<D, n>(ds, dout, v);
    wgmma_commit();
    wgmma_wait<1>(p);
#pragma unroll
    for (int i = 0; i < n / 2; ++i) p[i] = fast_exp2(p[i] * factor - lse[i % 4 / 2]);
    if (!warp_all(sees_all(visible[0], begin, begin + n) &&
                  sees_all(visible[1], begin, begin + n))) {
#pragma unroll
      for (int i = 0; i < n / 2; ++i)
        if (!sees(visible[i % 4 / 2], begin + i / 4 * 8 + 2 * member + i % 2)) p[i] = 0.0f;
    }
    wgmma_wait<0>(ds);
#pragma unroll
    for (int i = 0; i < n / 2; ++i) ds[i] = p[i] * (ds[i] - delta[i % 4 / 2]);
    round_weights<n>(weights, ds);
    wgmma_fence(dq, weights);
    add_weighted_rows<D, n>(dq, weights, k);
    wgmma_commit();
    wgmma_wait<0>(dq, weights);
    if (lane == 0) barrier_arrive(&barriers->read[stage]);
  }
  sync_computing(warpgroup);  // nobody reads the queries any more
  store_rows<D>(a.dq + (tile.first + own_row) * a.dq_stride + std::int64_t{head} * D, a.dq_stride,
                tile.count - own_row, dq, q_tile, [&](int) { return a.scale; });
}

template <int D>
__global__ void __launch_bounds__(kThreads, 1)
    backward_queries_kernel(const __grid_constant__ TensorMap q_map,
                            const __grid_constant__ TensorMap k_map,
                            const __grid_constant__ TensorMap v_map,
                            const __grid_constant__ TensorMap dout_map,
                            AttentionArguments<BFloat16> a) {
  if constexpr (kHopperCode) {
    // Last tiles first, as in the forward pass.
    const AttentionTile tile =
        tile_in_slot(a.query_offsets, a.segments, int(gridDim.x - 1 - blockIdx.x), kOwn);
    if (tile.count == 0) return;
    unsigned char* memory = aligned_shared();
    auto* barriers = reinterpret_cast<QueriesBarriers*>(memory + kQueriesBarriersAt<D>);
    const int head = int(blockIdx.y), kv_head = head / (a.heads / a.kv_heads);
    const int first_key = a.key_offsets[tile.segment];
    const int keys = a.key_offsets[tile.segment + 1] - first_key;
    const KeyTiles tiles(hull_of(a, tile.first, tile.count, first_key), kKeys<D>);
    if (threadIdx.x == 0) {
      barrier_init(&barriers->own, 1);
      for (int s = 0; s < kStages; ++s) {
        barrier_init(&barriers->here[s], 1);
        barrier_init(&barriers->read[s], kComputingWarps);
      }
      barrier_init(&barriers->tail_copied, 1);
      barrier_init_done();
    }
    __syncthreads();
    if (my_warpgroup() == 0) {
      fewer_registers<kCopyingRegisters>();
      if (threadIdx.x < kWarpSize)
        copy_key_tiles<D>(memory, barriers, q_map, k_map, v_map, dout_map, head * D, kv_head * D,
                          tile.first, first_key, keys, tiles);
    } else {
      more_registers<kComputingRegisters>();
      compute_queries<D>(memory, barriers, a, tile, head, first_key, keys, tiles);
    }
  } else {
    __trap();
  }
}

template <int D>
void backward(const char* op, CUstream_st* stream, const AttentionArguments<BFloat16>& a,
              std::int64_t queries, std::int64_t keys) {
  const auto slots = [&](std::int64_t rows) {
    return unsigned(tile_slots(rows, a.segments, kOwn));
  };
  const std::int64_t columns = std::int64_t{a.heads} * D, kv_columns = std::int64_t{a.kv_heads} * D;
  const auto map = [&](const BFloat16* data, bool of_keys, std::int64_t stride, int box_rows) {
    return tensor_map(op, data, of_keys ? keys : queries, of_keys ? kv_columns : columns, stride,
                      box_rows);
  };
  if (keys > 0) {
    attention_hulls(op, stream, a, queries, kQueries);
    launch({op, dim3(slots(keys), unsigned(a.kv_heads)), kThreads, kKeysShared<D>, stream},
           backward_keys_kernel<D>, map(a.q, false, a.q_stride, kQueries),
           map(a.k, true, a.k_stride, kWarpgroupRows), map(a.v, true, a.v_stride, kWarpgroupRows),
           map(a.dout, false, a.dout_stride, kQueries), a);
  }
  if (queries > 0)
    launch({op, dim3(slots(queries), unsigned(a.heads)), kThreads, kQueriesShared<D>, stream},
           backward_queries_kernel<D>, map(a.q, false, a.q_stride, kWarpgroupRows),
           map(a.k, true, a.k_stride, kKeys<D>), map(a.v, true, a.v_stride, kKeys<D>),
           map(a.dout, false, a.dout_stride, kWarpgroupRows), a);
}

}  // namespace
}  // namespace hopper

void attention_hopper_backward(const char* op, CUstream_st* stream,
                               const AttentionArguments<BFloat16>& a, std::int64_t queries,
                               std::int64_t keys) {
  if (a.head_dim == 64)
    hopper::backward<64>(op, stream, a, queries, keys);
  else
    hopper::backward<128>(op, stream, a, queries, keys);
}

}  // namespace lacuna
