#include "kernels/cuda/attention_hopper.cuh"
#include "kernels/cuda/attention_order.h"
#include "kernels/cuda/dispatch.h"

// The backward pass in one kernel, a block for each tile of keys, in the manner of FlashAttention-3
// (arXiv:2407.08608) and ThunderKittens (arXiv:2410.20399): five products. dk and dv stay in
// registers. dq is a sum over tiles of keys, hence over blocks: they take turns to add their parts,
// in the order of the keys, so that the same bits come out in every run. A block may have to wait
// for earlier ones, so three things are chosen to let them start apart from each other and end
// together (scripts/simulate_turns.py):
//
// - queries are taken from the last to the first: by a causal mask the first keys' block, which has
//   the most to do, leads, and those that follow add to the queries that it has just left;
// - blocks start in the order of the keys, so that the last to start have the least to do;
// - blocks of several heads start beside each other, so that fewer add to the same queries.
//
// The products of a step are issued so that some are under way whenever the threads compute: S of
// the next step while dQ is stored, dP while weights are taken, dV while dS is computed, dK while
// the other warpgroup's dS is awaited.

namespace lacuna {
namespace hopper {
namespace {

template <int D>
constexpr int kCopyingRegisters = D == 64 ? 40 : 24;
template <int D>
constexpr int kComputingRegisters = D == 64 ? 232 : 240;
static_assert(registers_fit(kCopyingRegisters<64>, kComputingRegisters<64>));
static_assert(registers_fit(kCopyingRegisters<128>, kComputingRegisters<128>));

/// In a tile. A warpgroup's part of dq is 64 rows by 64 columns: of one tile's columns, or rows.
template <int D>
constexpr int kQueries = D == 64 ? 128 : 64;
constexpr int kPartRows = 64, kPartColumns = kBoxColumns, kPartFloats = kPartRows * kPartColumns;
/// dv is added to before ds is computed, where registers suffice for both at once.
template <int D>
constexpr bool kValuesFirst = D == 128;
/// Of the copying warpgroup: a warp for tiles, and a thread for dq.
constexpr int kSumsThread = kWarpSize;

/// Of a tile of queries and a head; of a query that does not exist 0.
template <int D>
struct QueryScalars {
  float lse[kQueries<D>], delta[kQueries<D>];  // lse times log2 e
};
/// What a step has beside q and dout.
template <int D>
struct StepScalars {
  QueryScalars<D> of;
  KeyIntervals keys[kQueries<D>];  // the rows of query_keys, unless `whole`
  std::int32_t whole[4];           // [0]: whether all of them see all own keys
};

/// What a block works on. It lies in shared memory: registers are few.
struct OwnTile {
  AttentionTile tile;
  int kv_head;
};

/// Those of one step are written while the other warpgroup may still read the last one's.
constexpr int kScoreTiles = 2;
struct Barriers {
  MemoryBarrier own, own_copied, here[kStages], read[kStages], tail_copied;
  MemoryBarrier scores_here, sums_here, sums_free;
};

/// In shared memory: own keys and own values, for each warpgroup a tile of 64; for each stage
/// queries and their gradients; ds, transposed, [keys, queries]; a part of dq; scalars.
template <int D>
constexpr int kRowsTile = tile_bytes<D>(kWarpgroupRows);
template <int D>
constexpr int kQueryTile = tile_bytes<D>(kQueries<D>);
constexpr int kScoreBox = kOwn * kBoxRowBytes;
template <int D>
constexpr int kScoreTile = kQueries<D> / kBoxColumns* kScoreBox;
template <int D>
constexpr int kStagesAt = 2 * tile_bytes<D>(kOwn);
template <int D>
constexpr int kScoresAt = kStagesAt<D> + 2 * kStages* kQueryTile<D>;
template <int D>
constexpr int kSumsAt = kScoresAt<D> + kScoreTiles* kScoreTile<D>;
template <int D>
constexpr int kSumsFloats = kQueries<D>* D;
template <int D>
constexpr int kScalarsAt = kSumsAt<D> + kSumsFloats<D>* int(sizeof(float));
template <int D>
constexpr int kBarriersAt = kScalarsAt<D> + kStages* int(sizeof(StepScalars<D>));
template <int D>
constexpr std::size_t kShared = kSlack + kBarriersAt<D> + sizeof(Barriers);
static_assert(kShared<64> <= kMostShared && kShared<128> <= kMostShared);
static_assert(kSumsFloats<64> == kComputing * kPartFloats && kSumsFloats<128> == kSumsFloats<64>);

/// What the blocks share. Of each tile of queries, by its slot, and each head: scalars; the sums of
/// dq before they are rounded, as the threads of the warpgroups hold them; how many parts have been
/// added. Of each tile what all of its queries see. And the blocks' tickets.
struct Workspace {
  float* sums;
  unsigned char* scalars;
  KeyIntervals* cores;
  std::int32_t *turns, *tickets;

  template <int D>
  __device__ float* tile(int slot, int heads, int head) const {
    return sums + (std::int64_t{slot} * heads + head) * kSumsFloats<D>;
  }
  template <int D>
  __device__ QueryScalars<D>* scalars_of(int slot, int heads, int head) const {
    return reinterpret_cast<QueryScalars<D>*>(scalars) + (std::int64_t{slot} * heads + head);
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
                                                 const AttentionArguments<BFloat16>& a,
                                                 const Workspace& workspace,
                                                 const QuerySteps& steps) {
  unsigned char* tiles = memory + kStagesAt<D>;
  auto* scalars = reinterpret_cast<StepScalars<D>*>(memory + kScalarsAt<D>);
  const bool leader = threadIdx.x == 0;
  unsigned tails = 0;  // every head's last tile may be one
  QuerySteps::Step step = steps.first();
  for (int i = 0; steps.exists(step); ++i, steps.advance(step)) {
    const int stage = i % kStages;
    const KeyIntervals core = workspace.cores[steps.slot(step)];
    const bool whole = sees_all(core, steps.key_begin, steps.key_begin + kOwn);
    if (leader) barrier_wait(&barriers->read[stage], unsigned(i / kStages & 1) ^ 1);
    const int valid = steps.queries - steps.begin(step);
    const bool is_tail = valid < kQueries<D>;
    MemoryBarrier* here = &barriers->here[stage];
    MemoryBarrier* copied = is_tail ? &barriers->tail_copied : here;
    unsigned char* tile = tiles + 2 * stage * kQueryTile<D>;
    if (leader) {
      StepScalars<D>& scalar = scalars[stage];
      const int row = steps.first_query + steps.begin(step), column = step.head * D;
      const int interval_bytes =
          whole ? 0 : (is_tail ? valid : kQueries<D>)*int(sizeof(KeyIntervals));
      scalar.whole[0] = whole;
      barrier_arrive_expecting(
          copied, unsigned(2 * kQueryTile<D> + int(sizeof(QueryScalars<D>)) + interval_bytes));
      load_tile<D>(tile, kQueries<D>, q_map, column, row, copied);
      load_tile<D>(tile + kQueryTile<D>, kQueries<D>, dout_map, column, row, copied);
      bulk_load(&scalar.of, workspace.scalars_of<D>(steps.slot(step), a.heads, step.head),
                sizeof(QueryScalars<D>), copied);
      if (!whole)
        bulk_load(scalar.keys, a.query_keys + std::int64_t{row} * 4, unsigned(interval_bytes),
                  copied);
    }
    if (is_tail) clear_tail<D, kQueries<D>, 2>(tile, valid, copied, tails++ & 1, here);
  }
}

/// One thread: adds the parts of dq to global memory, each when it is this block's turn.
template <int D>
__device__ __forceinline__ void add_sums(const unsigned char* memory, Barriers* barriers,
                                         const AttentionArguments<BFloat16>& a,
                                         const Workspace& workspace, const QuerySteps& steps) {
  const auto* part = reinterpret_cast<const float*>(memory + kSumsAt<D>);
  constexpr unsigned kBytes = kSumsFloats<D> * sizeof(float);
  QuerySteps::Step step = steps.first();
  for (int s = 0; steps.exists(step); ++s, steps.advance(step)) {
    const int slot = steps.slot(step);
    std::int32_t* turns = workspace.turns + std::int64_t{slot} * a.heads + step.head;
    float* sums = workspace.tile<D>(slot, a.heads, step.head);
    const int turn = KeyTiles(steps.hull(step), kOwn).before(steps.key_begin / kOwn);
    // The last turn's end takes a while to come here: meanwhile the sums are computed.
    wait_for_turn(turns, turn);
    barrier_wait(&barriers->sums_here, unsigned(s & 1));
    if (turn == 0)
      bulk_store(sums, part, kBytes);
    else
      bulk_add(sums, part, kBytes);
    bulk_commit();
    bulk_wait_read();
    barrier_arrive(&barriers->sums_free);
    bulk_wait();
    end_turn(turns);
  }
}

/// ds, transposed, to the tile of all [keys, queries] of this step.
template <int D>
__device__ __forceinline__ void store_scores(
    unsigned char* scores, int row, int group, int member,
    const std::uint32_t (&ds_weights)[kQueries<D> / 16][4]) {
#pragma unroll
  for (int n = 0; n < kQueries<D> / 8; ++n)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      unsigned char* box_row = scores + n / 8 * kScoreBox + (row + 8 * half) * kBoxRowBytes;
      store_pack<1>(reinterpret_cast<std::uint32_t*>(box_row + (n % 8 ^ group) * 16) + member,
                    Pack<std::uint32_t, 1>{{ds_weights[n / 2][n % 2 * 2 + half]}});
    }
}

/// Each warpgroup 64 keys, and its part of dq. Scores are transposed, [keys, queries], so that dk
/// and dv stay in registers.
template <int D>
__device__ __forceinline__ void compute(unsigned char* memory, Barriers* barriers,
                                        const AttentionArguments<BFloat16>& a,
                                        const OwnTile& own_tile, int step_count) {
  constexpr int n = kQueries<D>;
  const int warpgroup = my_warpgroup() - 1, lane = int(threadIdx.x) % kWarpSize;
  const int thread = int(threadIdx.x) % kWarpgroup, group = lane / 4, member = lane % 4;
  const int own_row = warpgroup * kWarpgroupRows;
  const int row = own_row + thread / kWarpSize * mma::kRows + group;
  unsigned char* k_tile = memory + warpgroup * kRowsTile<D>;
  unsigned char* v_tile = k_tile + kComputing * kRowsTile<D>;
  const std::uint32_t own_keys = window_address(k_tile), own_values = window_address(v_tile);
  const std::uint32_t tiles = window_address(memory + kStagesAt<D>);
  const auto* scalars = reinterpret_cast<const StepScalars<D>*>(memory + kScalarsAt<D>);
  auto* sums = reinterpret_cast<float*>(memory + kSumsAt<D>) + warpgroup * kPartFloats;
  const float factor = a.scale * kLog2E;
  // Its part of dq: of ds the queries of a box, of all keys the columns of a box.
  const std::uint64_t part_scores = matrix_descriptor(window_address(memory + kScoresAt<D>) +
                                                      (D == 64 ? warpgroup * kScoreBox : 0));
  const std::uint64_t part_keys = matrix_descriptor(
      window_address(memory) + (D == 64 ? 0 : warpgroup * kWarpgroupRows * kBoxRowBytes));

  float dk[D / 2], dv[D / 2];
#pragma unroll
  for (int i = 0; i < D / 2; ++i) dk[i] = dv[i] = 0;
  barrier_wait(&barriers->own, 0);
  const auto store_part = [&](int s, const float(&dq)[kPartColumns / 2]) {
    barrier_wait(&barriers->sums_free, unsigned(s & 1) ^ 1);
#pragma unroll
    for (int i = 0; i < kPartColumns / 2; i += 4)
      store_pack<4>(sums + (i / 4 * kWarpgroup + thread) * 4,
                    Pack<float, 4>{{dq[i], dq[i + 1], dq[i + 2], dq[i + 3]}});
    arrive_with_stores(&barriers->sums_here);
  };
  for (int s = 0; s < step_count; ++s) {
    const int stage = s % kStages, buffer = s % kScoreTiles * kScoreTile<D>;
    const std::uint32_t q = tiles + 2 * stage * kQueryTile<D>, dout = q + kQueryTile<D>;
    const StepScalars<D>& scalar = scalars[stage];
    float p[n / 2], ds[n / 2], dq[kPartColumns / 2];
    std::uint32_t p_weights[n / 16][4], ds_weights[n / 16][4];
    const auto begin_values = [&] {
      wgmma_fence(dv, p_weights);
      add_weighted_rows<D, n>(dv, p_weights, dout);
      wgmma_commit();
    };
    barrier_wait(&barriers->here[stage], unsigned(s / kStages & 1));
    wgmma_fence(p);
    multiply_by_rows<D, n>(p, own_keys, q);
    wgmma_commit();
    wgmma_fence(ds);
    multiply_by_rows<D, n>(ds, own_values, dout);
    wgmma_commit();
    const bool whole = scalar.whole[0];
    wgmma_wait<1>(p);
#pragma unroll
    for (int i = 0; i < n / 2; ++i)
      p[i] = fast_exp2(p[i] * factor - scalar.of.lse[i / 4 * 8 + 2 * member + i % 2]);
    // Most tiles of queries see all keys: nothing to compare there.
    if (!whole) {
      const int key = own_tile.tile.first + row;
#pragma unroll
      for (int i = 0; i < n / 2; ++i)
        if (!sees(scalar.keys[i / 4 * 8 + 2 * member + i % 2], key + i % 4 / 2 * 8)) p[i] = 0.0f;
    }
    round_weights<n>(p_weights, p);
    if constexpr (kValuesFirst<D>) {
      begin_values();
      wgmma_wait<1>(ds);
    } else {
      wgmma_wait<0>(ds);
    }
#pragma unroll
    for (int i = 0; i < n / 2; ++i)
      ds[i] = p[i] * (ds[i] - scalar.of.delta[i / 4 * 8 + 2 * member + i % 2]);
    round_weights<n>(ds_weights, ds);
    // Of the step before the last nobody reads scores any more: both have stored the last one's.
    store_scores<D>(memory + kScoresAt<D> + buffer, row, group, member, ds_weights);
    arrive_with_stores(&barriers->scores_here);
    if constexpr (!kValuesFirst<D>) begin_values();
    barrier_wait(&barriers->scores_here, unsigned(s & 1));
    wgmma_fence(dq);
#pragma unroll
    for (int k = 0; k < kOwn / 16; ++k) {
      constexpr int kSixteen = 16 * kBoxRowBytes, kOfTile = kWarpgroupRows / 16;
      wgmma_columns(dq, moved(part_scores, buffer + k * kSixteen),
                    moved(part_keys, k / kOfTile * kRowsTile<D> + k % kOfTile * kSixteen), k > 0);
    }
    wgmma_commit();
    wgmma_fence(dk, ds_weights);
    add_weighted_rows<D, n>(dk, ds_weights, q);
    wgmma_commit();
    wgmma_wait<1>(dv, dq, p_weights);
    store_part(s, dq);
    wgmma_wait<0>(dk, ds_weights);
    __syncwarp();  // all lanes have read the scalars
    if (lane == 0) barrier_arrive(&barriers->read[stage]);
  }
  sync_all_computing();  // nobody reads the keys and values any more
  const std::int64_t first = own_tile.tile.first + own_row;
  const std::int64_t kv_column = std::int64_t{own_tile.kv_head} * D;
  const int valid = own_tile.tile.count - own_row;
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
                    Workspace workspace) {
  if constexpr (kHopperCode) {
    __shared__ OwnTile own;
    if (threadIdx.x == 0) {
      // Blocks start in the order of their tickets: a block waits for earlier ones alone.
      const int ticket = take_ticket(workspace.tickets);
      const TicketOrder order{int(gridDim.x), a.kv_heads};
      own.tile = tile_in_slot(a.key_offsets, a.segments, order.slot(ticket), kOwn);
      own.kv_head = order.head(ticket);
    }
    __syncthreads();
    const AttentionTile tile = own.tile;
    const int kv_head = own.kv_head;
    if (tile.count == 0) return;
    unsigned char* memory = aligned_shared();
    auto* barriers = reinterpret_cast<Barriers*>(memory + kBarriersAt<D>);
    const int first_key = a.key_offsets[tile.segment], own_key = tile.first - first_key;
    const QuerySteps steps(a, tile.segment, kQueries<D>, kv_head, own_key, own_key + tile.count,
                           -1);
    if (threadIdx.x == 0) {
      barrier_init(&barriers->own, 1);
      barrier_init(&barriers->own_copied, 1);
      barrier_init(&barriers->tail_copied, 1);
      for (int s = 0; s < kStages; ++s) {
        barrier_init(&barriers->here[s], 1);
        barrier_init(&barriers->read[s], kComputingWarps);
      }
      barrier_init(&barriers->scores_here, kComputingWarps);
      barrier_init(&barriers->sums_here, kComputingWarps);
      barrier_init(&barriers->sums_free, 1);
      barrier_init_done();
    }
    __syncthreads();
    if (my_warpgroup() == 0) {
      fewer_registers<kCopyingRegisters<D>>();
      const int thread = int(threadIdx.x);
      if (thread < kWarpSize) {
        copy_own<D>(memory, barriers, k_map, v_map, tile, kv_head * D);
        copy_query_tiles<D>(memory, barriers, q_map, dout_map, a, workspace, steps);
      } else if (thread == kSumsThread) {
        add_sums<D>(memory, barriers, a, workspace, steps);
      }
    } else {
      more_registers<kComputingRegisters<D>>();
      compute<D>(memory, barriers, a, own, steps.count());
    }
  } else {
    __trap();
  }
}

/// What the blocks need of a tile of queries, for blockIdx.y's heads: hull and core, no turns yet,
/// lse and delta. Half a warp, or a quarter of one, for each row of out.
constexpr int kPreparing = 256, kPreparedHeads = 4;
template <int D>
__global__ void prepare_kernel(AttentionArguments<BFloat16> a, Workspace workspace) {
  constexpr int kPack = 8, kLanes = D / kPack;
  const int slot = int(blockIdx.x), thread = int(threadIdx.x);
  const int first_head = int(blockIdx.y) * kPreparedHeads;
  if (blockIdx.x == 0 && blockIdx.y == 0 && thread == 0) *workspace.tickets = 0;
  const AttentionTile tile = tile_in_slot(a.query_offsets, a.segments, slot, kQueries<D>);
  if (tile.count == 0) return;
  if (blockIdx.y == 0 && thread < kWarpSize) {
    const int first_key = a.key_offsets[tile.segment];
    const KeyIntervals hull = hull_of(a, tile.first, tile.count, first_key);
    const KeyIntervals core = core_of(a, tile.first, tile.count, first_key);
    if (thread == 0) {
      a.hulls[slot] = hull;
      workspace.cores[slot] = core;
    }
  }
  if (thread < kPreparedHeads && first_head + thread < a.heads)
    workspace.turns[std::int64_t{slot} * a.heads + first_head + thread] = 0;
  const int lane = thread % kLanes;
  for (int i = thread / kLanes; i < kQueries<D> * kPreparedHeads; i += kPreparing / kLanes) {
    const int row = i / kPreparedHeads, head = first_head + i % kPreparedHeads;
    const bool exists = row < tile.count && head < a.heads;
    const std::int64_t query = std::int64_t{tile.first} + (exists ? row : 0);
    float sum = 0;
    if (exists) {
      const std::int64_t column = std::int64_t{head} * D + lane * kPack;
      const auto dout = load_pack<kPack>(a.dout + query * a.dout_stride + column);
      const auto out = load_pack<kPack>(a.out + query * a.out_stride + column);
      for (int j = 0; j < kPack; ++j) sum += widen(dout.v[j]) * widen(out.v[j]);
    }
#pragma unroll
    for (int other = kLanes / 2; other > 0; other /= 2) sum += __shfl_xor_sync(~0u, sum, other);
    if (lane > 0 || head >= a.heads) continue;
    QueryScalars<D>* scalars = workspace.scalars_of<D>(slot, a.heads, head);
    scalars->delta[row] = sum;
    scalars->lse[row] = exists ? a.lse[query * a.heads + head] * kLog2E : 0.0f;
  }
}

/// dq, a block for each tile of queries and head, in the place of the warpgroups that held the
/// sums.
template <int D>
__global__ void round_sums_kernel(AttentionArguments<BFloat16> a, Workspace workspace) {
  const int slot = int(blockIdx.x), head = int(blockIdx.y), thread = int(threadIdx.x);
  const AttentionTile tile = tile_in_slot(a.query_offsets, a.segments, slot, kQueries<D>);
  if (tile.count == 0) return;
  const bool any = KeyTiles(a.hulls[slot], kOwn).count > 0;
  const float* sums = workspace.tile<D>(slot, a.heads, head);
  const int lane = thread % kWarpSize;
#pragma unroll
  for (int n = 0; n < kSumsFloats<D> / kWarpgroup / 4; ++n) {
    const int part = n / (kPartColumns / 8);
    const int row = thread / kWarpSize * mma::kRows + lane / 4 + (D == 64 ? part * kPartRows : 0);
    const int column =
        n % (kPartColumns / 8) * 8 + lane % 4 * 2 + (D == 64 ? 0 : part * kPartColumns);
    Pack<float, 4> four{};
    if (any) four = load_pack<4>(sums + (n * kWarpgroup + thread) * 4);
    for (int half = 0; half < 2; ++half) {
      if (row + 8 * half >= tile.count) continue;
      Pack<BFloat16, 2> pair;
      for (int i = 0; i < 2; ++i) pair.v[i] = narrow<BFloat16>(four.v[2 * half + i] * a.scale);
      store_pack<2>(a.dq + (std::int64_t{tile.first} + row + 8 * half) * a.dq_stride +
                        std::int64_t{head} * D + column,
                    pair);
    }
  }
}

/// Bytes, and where in them what lies; every part is a multiple of 16.
struct WorkspaceLayout {
  std::int64_t scalars, cores, turns, bytes;
};
template <int D>
WorkspaceLayout workspace_layout(std::int64_t queries, std::int64_t segments, std::int64_t heads) {
  const std::int64_t slots = tile_slots(queries, segments, kQueries<D>), parts = slots * heads;
  WorkspaceLayout l{};
  l.scalars = parts * kSumsFloats<D> * std::int64_t{sizeof(float)};
  l.cores = l.scalars + parts * std::int64_t{sizeof(QueryScalars<D>)};
  l.turns = l.cores + slots * std::int64_t{sizeof(KeyIntervals)};
  l.bytes = l.turns + (parts + 1) * std::int64_t{sizeof(std::int32_t)};  // and the tickets
  return l;
}

template <int D>
void backward(const char* op, CUstream_st* stream, const AttentionArguments<BFloat16>& a,
              std::int64_t queries, std::int64_t keys, void* memory) {
  const auto query_slots = unsigned(tile_slots(queries, a.segments, kQueries<D>));
  const auto key_slots = unsigned(tile_slots(keys, a.segments, kOwn));
  const WorkspaceLayout layout = workspace_layout<D>(queries, a.segments, a.heads);
  auto* bytes = static_cast<unsigned char*>(memory);
  Workspace workspace{};
  workspace.sums = reinterpret_cast<float*>(bytes);
  workspace.scalars = bytes + layout.scalars;
  workspace.cores = reinterpret_cast<KeyIntervals*>(bytes + layout.cores);
  workspace.turns = reinterpret_cast<std::int32_t*>(bytes + layout.turns);
  workspace.tickets = workspace.turns + std::int64_t{query_slots} * a.heads;
  const auto head_groups = unsigned(divided_up(a.heads, kPreparedHeads));
  if (queries > 0)
    launch({op, dim3(query_slots, head_groups), kPreparing, 0, stream}, prepare_kernel<D>, a,
           workspace);
  const std::int64_t columns = std::int64_t{a.heads} * D, kv_columns = std::int64_t{a.kv_heads} * D;
  launch({op, dim3(key_slots, unsigned(a.kv_heads)), kThreads, kShared<D>, stream},
         backward_kernel<D>, tensor_map(op, a.q, queries, columns, a.q_stride, kQueries<D>),
         tensor_map(op, a.k, keys, kv_columns, a.k_stride, kWarpgroupRows),
         tensor_map(op, a.v, keys, kv_columns, a.v_stride, kWarpgroupRows),
         tensor_map(op, a.dout, queries, columns, a.dout_stride, kQueries<D>), a, workspace);
  launch({op, dim3(query_slots, unsigned(a.heads)), kWarpgroup, 0, stream}, round_sums_kernel<D>, a,
         workspace);
}

}  // namespace
}  // namespace hopper

std::int64_t attention_hopper_fused_workspace(std::int64_t queries, std::int64_t segments,
                                              std::int64_t heads, std::int64_t head_dim) {
  constexpr std::int64_t kAlignment = 256;
  const hopper::WorkspaceLayout layout =
      head_dim == 64 ? hopper::workspace_layout<64>(queries, segments, heads)
                     : hopper::workspace_layout<128>(queries, segments, heads);
  return divided_up(layout.bytes, kAlignment) * kAlignment;
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
