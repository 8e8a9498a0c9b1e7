#include "kernels/cuda/attention_hopper.cuh"
#include "kernels/cuda/dispatch.h"

// The backward pass in one kernel, a block for each tile of keys, in the manner of FlashAttention-3
// (arXiv:2407.08608) and ThunderKittens (arXiv:2410.20399): five products. dk and dv stay in
// registers. dq is a sum over tiles of keys, hence over blocks: they take turns to add their parts,
// in the order of the keys, so that the same bits come out in every run. A later block lags behind
// an earlier one by the time of a tile and then no longer waits. The emulator runs it; no GPU has
// yet.

namespace lacuna {
namespace hopper {
namespace {

constexpr int kCopyingRegisters = 40, kComputingRegisters = 232;
static_assert(registers_fit(kCopyingRegisters, kComputingRegisters));

constexpr int kQueries = 64;
/// Of the copying warpgroup: a warp for tiles, two for what a tile of queries has beside q and
/// dout, one for dq.
constexpr int kFirstScalarThread = kWarpSize, kScalarThreads = kQueries;
constexpr int kSumsThread = kFirstScalarThread + kScalarThreads;

struct QueryScalars {
  float lse[kQueries], delta[kQueries];  // lse times log2 e
  KeyIntervals keys[kQueries];           // of the segment's; none: there is no such query
};
static_assert(sizeof(QueryScalars) % 8 == 0);

/// One part of ds at a time is in the hands of each warpgroup: of the tiles of queries, it
/// multiplies every other one's.
constexpr int kScoreTiles = kComputing;
struct Barriers {
  MemoryBarrier own, own_copied, here[kStages], read[kStages], tail_copied;
  MemoryBarrier scores_here[kScoreTiles], scores_read[kScoreTiles];
  MemoryBarrier sums_here, sums_free[kComputing];
};

/// In shared memory: own keys and own values, for each warpgroup a tile of 64; for each stage
/// queries and their gradients; ds, transposed, [keys, queries]; a part of dq; scalars.
template <int D>
constexpr int kRowsTile = tile_bytes<D>(kWarpgroupRows);
template <int D>
constexpr int kQueryTile = tile_bytes<D>(kQueries);
constexpr int kScoreTile = kOwn * kBoxRowBytes;
static_assert(kQueries == kBoxColumns);
template <int D>
constexpr int kStagesAt = 2 * tile_bytes<D>(kOwn);
template <int D>
constexpr int kScoresAt = kStagesAt<D> + 2 * kStages* kQueryTile<D>;
template <int D>
constexpr int kSumsAt = kScoresAt<D> + kScoreTiles* kScoreTile;
template <int D>
constexpr int kSumsFloats = kQueries* D;
template <int D>
constexpr int kScalarsAt = kSumsAt<D> + kSumsFloats<D>* int(sizeof(float));
template <int D>
constexpr int kBarriersAt = kScalarsAt<D> + kStages* int(sizeof(QueryScalars));
template <int D>
constexpr std::size_t kShared = kSlack + kBarriersAt<D> + sizeof(Barriers);

/// dq before it is rounded: for each tile of queries, by its slot, and each head its sums, as the
/// threads of a warpgroup hold them, and how many parts have been added; and the blocks' tickets.
struct QueryGradients {
  float* sums;
  std::int32_t *turns, *tickets;

  template <int D>
  __device__ float* tile(int slot, int heads, int head) const {
    return sums + (std::int64_t{slot} * heads + head) * kSumsFloats<D>;
  }
};

/// One warp.
template <int D>
__device__ __forceinline__ void copy_own(unsigned char* memory, Barriers* barriers,
                                         const TensorMap& k_map, const TensorMap& v_map,
                                         const AttentionTile& tile, int kv_column) {
  const bool whole = tile.count == kOwn;
  MemoryBarrier* copied = whole ? &barriers->own : &barriers->own_copied;
  if (threadIdx.x == 0) {
    barrier_arrive_expecting(copied, 2 * tile_bytes<D>(kOwn));
    for (int w = 0; w < kComputing; ++w) {
      const int row = tile.first + w * kWarpgroupRows;
      load_tile<D>(memory + w * kRowsTile<D>, kWarpgroupRows, k_map, kv_column, row, copied);
      load_tile<D>(memory + (kComputing + w) * kRowsTile<D>, kWarpgroupRows, v_map, kv_column, row,
                   copied);
    }
  }
  if (whole) return;
  barrier_wait(copied, 0);
  for (int w = 0; w < 2 * kComputing; ++w) {
    const int valid = tile.count - w % kComputing * kWarpgroupRows;
    if (valid < kWarpgroupRows)
      clear_rows<D, kWarpgroupRows>(memory + w * kRowsTile<D>, valid < 0 ? 0 : valid);
  }
  arrive_with_stores(&barriers->own);
}

/// One warp.
template <int D>
__device__ __forceinline__ void copy_query_tiles(unsigned char* memory, Barriers* barriers,
                                                 const TensorMap& q_map, const TensorMap& dout_map,
                                                 const QuerySteps& steps) {
  unsigned char* tiles = memory + kStagesAt<D>;
  const bool leader = threadIdx.x == 0;
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

__device__ __forceinline__ void copy_scalars(QueryScalars* scalars, Barriers* barriers,
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

/// One thread: adds the parts of dq to global memory, each when it is this block's turn.
template <int D>
__device__ __forceinline__ void add_sums(const unsigned char* memory, Barriers* barriers,
                                         const AttentionArguments<BFloat16>& a,
                                         const QueryGradients& gradients, const QuerySteps& steps) {
  const auto* part = reinterpret_cast<const float*>(memory + kSumsAt<D>);
  constexpr unsigned kBytes = kSumsFloats<D> * sizeof(float);
  QuerySteps::Step step = steps.first();
  for (int s = 0; steps.exists(step); ++s, steps.advance(step)) {
    const int slot = steps.slot(a, step);
    std::int32_t* turns = gradients.turns + std::int64_t{slot} * a.heads + step.head;
    float* sums = gradients.tile<D>(slot, a.heads, step.head);
    const int turn = KeyTiles(steps.hull(step), kOwn).before(steps.key_begin / kOwn);
    barrier_wait(&barriers->sums_here, unsigned(s & 1));
    wait_for_turn(turns, turn);
    if (turn == 0)
      bulk_store(sums, part, kBytes);
    else
      bulk_add(sums, part, kBytes);
    bulk_commit();
    bulk_wait_read();
    barrier_arrive(&barriers->sums_free[(s + 1) % kComputing]);
    bulk_wait();
    end_turn(turns);
  }
}

/// Each warpgroup 64 keys, and every other tile's part of dq. Scores are transposed, [keys,
/// queries], so that dk and dv stay in registers.
template <int D>
__device__ __forceinline__ void compute(unsigned char* memory, Barriers* barriers,
                                        const AttentionArguments<BFloat16>& a,
                                        const AttentionTile& tile, const QuerySteps& steps) {
  const int warpgroup = my_warpgroup() - 1, lane = int(threadIdx.x) % kWarpSize;
  const int thread = int(threadIdx.x) % kWarpgroup, group = lane / 4, member = lane % 4;
  const int own_row = warpgroup * kWarpgroupRows;
  const int row = own_row + thread / kWarpSize * mma::kRows + group;
  unsigned char* k_tile = memory + warpgroup * kRowsTile<D>;
  unsigned char* v_tile = k_tile + kComputing * kRowsTile<D>;
  const std::uint32_t keys = window_address(memory);
  const std::uint32_t tiles = window_address(memory + kStagesAt<D>);
  const auto* scalars = reinterpret_cast<const QueryScalars*>(memory + kScalarsAt<D>);
  const float factor = a.scale * kLog2E;

  float dk[D / 2], dv[D / 2];
#pragma unroll
  for (int i = 0; i < D / 2; ++i) dk[i] = dv[i] = 0;
  barrier_wait(&barriers->own, 0);
  const int warp_key = steps.key_begin + row - group;  // the first of 16
  QuerySteps::Step step = steps.first();
  for (int s = 0; steps.exists(step); ++s, steps.advance(step)) {
    const int stage = s % kStages, buffer = s % kScoreTiles;
    const unsigned use = unsigned(s / kScoreTiles & 1);  // of the buffer: even or odd
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
    wgmma_wait<0>(ds);
#pragma unroll
    for (int i = 0; i < kQueries / 2; ++i)
      ds[i] = p[i] * (ds[i] - scalar.delta[i / 4 * 8 + 2 * member + i % 2]);
    round_weights<kQueries>(p_weights, p);
    round_weights<kQueries>(ds_weights, ds);
    wgmma_fence(dv, dk, p_weights, ds_weights);
    add_weighted_rows<D, kQueries>(dv, p_weights, dout);
    add_weighted_rows<D, kQueries>(dk, ds_weights, q);
    wgmma_commit();

    barrier_wait(&barriers->scores_read[buffer], use ^ 1);
    unsigned char* scores = memory + kScoresAt<D> + buffer * kScoreTile;
#pragma unroll
    for (int n = 0; n < kQueries / 8; ++n)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        store_pack<1>(reinterpret_cast<std::uint32_t*>(scores + (row + 8 * half) * kBoxRowBytes +
                                                       (n ^ group) * 16) +
                          member,
                      Pack<std::uint32_t, 1>{{ds_weights[n / 2][n % 2 * 2 + half]}});
    arrive_with_stores(&barriers->scores_here[buffer]);
    wgmma_wait<0>(dv, dk, p_weights, ds_weights);
    __syncwarp();  // all lanes have read the scalars
    if (lane == 0) barrier_arrive(&barriers->read[stage]);

    if (buffer != warpgroup) continue;
    float dq[D / 2];
    barrier_wait(&barriers->scores_here[buffer], use);
    wgmma_fence(dq);
    const std::uint32_t all_scores = window_address(scores);
#pragma unroll
    for (int k = 0; k < kOwn / 16; ++k) {
      constexpr int kSixteen = 16 * kBoxRowBytes, kOfTile = kWarpgroupRows / 16;
      wgmma_columns(dq, matrix_descriptor(all_scores + k * kSixteen),
                    matrix_descriptor(keys + k / kOfTile * kRowsTile<D> + k % kOfTile * kSixteen,
                                      kWarpgroupRows * kBoxRowBytes),
                    k > 0);
    }
    wgmma_commit();
    // The other warpgroup's part before this one has left.
    barrier_wait(&barriers->sums_free[buffer], use ^ unsigned(buffer == 0));
    wgmma_wait<0>(dq);
    if (lane == 0) barrier_arrive(&barriers->scores_read[buffer]);
    auto* sums = reinterpret_cast<float*>(memory + kSumsAt<D>);
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
      store_pack<4>(sums + (n * kWarpgroup + thread) * 4,
                    Pack<float, 4>{{dq[4 * n], dq[4 * n + 1], dq[4 * n + 2], dq[4 * n + 3]}});
    arrive_with_stores(&barriers->sums_here);
  }
  sync_all_computing();  // nobody reads the keys and values any more
  const std::int64_t first = tile.first + own_row, kv_column = std::int64_t{steps.kv_head} * D;
  const int valid = tile.count - own_row;
  store_rows<D>(a.dk + first * a.dk_stride + kv_column, a.dk_stride, valid, dk, k_tile,
                [&](int) { return a.scale; });
  store_rows<D>(a.dv + first * a.dv_stride + kv_column, a.dv_stride, valid, dv, v_tile,
                [](int) { return 1.0f; });
}

template <int D>
__global__ void __launch_bounds__(kThreads, 1)
    backward_kernel(const __grid_constant__ TensorMap q_map,
                    const __grid_constant__ TensorMap k_map,
                    const __grid_constant__ TensorMap v_map,
                    const __grid_constant__ TensorMap dout_map, AttentionArguments<BFloat16> a,
                    QueryGradients gradients) {
  if constexpr (kHopperCode) {
    // Blocks start in the order of their tickets: a block waits for earlier ones alone.
    __shared__ int ticket;
    if (threadIdx.x == 0) ticket = take_ticket(gradients.tickets);
    __syncthreads();
    const int slot = ticket % int(gridDim.x), kv_head = ticket / int(gridDim.x);
    const AttentionTile tile = tile_in_slot(a.key_offsets, a.segments, slot, kOwn);
    if (tile.count == 0) return;
    unsigned char* memory = aligned_shared();
    auto* barriers = reinterpret_cast<Barriers*>(memory + kBarriersAt<D>);
    const int first_key = a.key_offsets[tile.segment], own_key = tile.first - first_key;
    const QuerySteps steps(a, tile.segment, kQueries, kv_head, own_key, own_key + tile.count);
    if (threadIdx.x == 0) {
      barrier_init(&barriers->own, 1);
      barrier_init(&barriers->own_copied, 1);
      barrier_init(&barriers->tail_copied, 1);
      for (int s = 0; s < kStages; ++s) {
        barrier_init(&barriers->here[s], 1 + kScalarThreads);
        barrier_init(&barriers->read[s], kComputingWarps);
      }
      for (int b = 0; b < kScoreTiles; ++b) {
        barrier_init(&barriers->scores_here[b], kComputingWarps);
        barrier_init(&barriers->scores_read[b], kWarpgroup / kWarpSize);
        barrier_init(&barriers->sums_free[b], 1);
      }
      barrier_init(&barriers->sums_here, kWarpgroup / kWarpSize);
      barrier_init_done();
    }
    __syncthreads();
    if (my_warpgroup() == 0) {
      fewer_registers<kCopyingRegisters>();
      const int thread = int(threadIdx.x);
      if (thread < kWarpSize) {
        copy_own<D>(memory, barriers, k_map, v_map, tile, kv_head * D);
        copy_query_tiles<D>(memory, barriers, q_map, dout_map, steps);
      } else if (thread < kSumsThread) {
        copy_scalars(reinterpret_cast<QueryScalars*>(memory + kScalarsAt<D>), barriers, a, steps,
                     first_key);
      } else if (thread == kSumsThread) {
        add_sums<D>(memory, barriers, a, gradients, steps);
      }
    } else {
      more_registers<kComputingRegisters>();
      compute<D>(memory, barriers, a, tile, steps);
    }
  } else {
    __trap();
  }
}

__global__ void begin_turns_kernel(std::int32_t* turns, int count) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) turns[i] = 0;
}

/// dq, a block for each tile of queries and head, in the place of the warpgroup that held the sums.
template <int D>
__global__ void round_sums_kernel(AttentionArguments<BFloat16> a, QueryGradients gradients) {
  const int slot = int(blockIdx.x), head = int(blockIdx.y), thread = int(threadIdx.x);
  const AttentionTile tile = tile_in_slot(a.query_offsets, a.segments, slot, kQueries);
  if (tile.count == 0) return;
  const bool any = KeyTiles(a.hulls[slot], kOwn).count > 0;
  const float* sums = gradients.tile<D>(slot, a.heads, head);
  const int lane = thread % kWarpSize;
  const int row = thread / kWarpSize * mma::kRows + lane / 4;
#pragma unroll
  for (int n = 0; n < D / 8; ++n) {
    Pack<float, 4> part{};
    if (any) part = load_pack<4>(sums + (n * kWarpgroup + thread) * 4);
    for (int half = 0; half < 2; ++half) {
      if (row + 8 * half >= tile.count) continue;
      Pack<BFloat16, 2> pair;
      for (int i = 0; i < 2; ++i) pair.v[i] = narrow<BFloat16>(part.v[2 * half + i] * a.scale);
      store_pack<2>(a.dq + (std::int64_t{tile.first} + row + 8 * half) * a.dq_stride +
                        std::int64_t{head} * D + 8 * n + lane % 4 * 2,
                    pair);
    }
  }
}

/// Of tiles of queries and heads.
std::int64_t turn_count(std::int64_t queries, std::int64_t segments, std::int64_t heads) {
  return tile_slots(queries, segments, kQueries) * heads;
}

template <int D>
void backward(const char* op, CUstream_st* stream, const AttentionArguments<BFloat16>& a,
              std::int64_t queries, std::int64_t keys, void* workspace) {
  const auto query_slots = unsigned(tile_slots(queries, a.segments, kQueries));
  const auto key_slots = unsigned(tile_slots(keys, a.segments, kOwn));
  const std::int64_t turns = turn_count(queries, a.segments, a.heads);
  QueryGradients gradients{};
  gradients.sums = static_cast<float*>(workspace);
  gradients.turns = reinterpret_cast<std::int32_t*>(gradients.sums + turns * kSumsFloats<D>);
  gradients.tickets = gradients.turns + turns;
  constexpr int kClearing = 256;
  attention_hulls(op, stream, a, queries, kQueries);
  launch({op, unsigned(divided_up(turns + 1, kClearing)), kClearing, 0, stream}, begin_turns_kernel,
         gradients.turns, int(turns + 1));
  const std::int64_t columns = std::int64_t{a.heads} * D, kv_columns = std::int64_t{a.kv_heads} * D;
  launch({op, dim3(key_slots, unsigned(a.kv_heads)), kThreads, kShared<D>, stream},
         backward_kernel<D>, tensor_map(op, a.q, queries, columns, a.q_stride, kQueries),
         tensor_map(op, a.k, keys, kv_columns, a.k_stride, kWarpgroupRows),
         tensor_map(op, a.v, keys, kv_columns, a.v_stride, kWarpgroupRows),
         tensor_map(op, a.dout, queries, columns, a.dout_stride, kQueries), a, gradients);
  launch({op, dim3(query_slots, unsigned(a.heads)), kWarpgroup, 0, stream}, round_sums_kernel<D>, a,
         gradients);
}

}  // namespace
}  // namespace hopper

std::int64_t attention_hopper_fused_workspace(std::int64_t queries, std::int64_t segments,
                                              std::int64_t heads, std::int64_t head_dim) {
  constexpr std::int64_t kAlignment = 256;
  const std::int64_t turns = hopper::turn_count(queries, segments, heads);
  const std::int64_t bytes = turns * hopper::kQueries * head_dim * std::int64_t{sizeof(float)} +
                             (turns + 1) * std::int64_t{sizeof(std::int32_t)};
  return divided_up(bytes, kAlignment) * kAlignment;
}

void attention_hopper_fused_backward(const char* op, CUstream_st* stream,
                                     const AttentionArguments<BFloat16>& a, std::int64_t queries,
                                     std::int64_t keys, void* workspace) {
  if (a.head_dim == 64)
    hopper::backward<64>(op, stream, a, queries, keys, workspace);
  else
    hopper::backward<128>(op, stream, a, queries, keys, workspace);
}

}  // namespace lacuna
