#include "kernels/cuda/attention_hopper.cuh"
#include "kernels/cuda/attention_order.h"
#include "kernels/cuda/dispatch.h"

// The forward pass with ping-pong scheduling and persistent blocks (FlashAttention-3,
// arXiv:2407.08608, section 3.1). The computing warpgroups begin their products in turns: the
// tensor cores multiply for one while the other takes its softmax. That pays if a softmax takes no
// longer than the other's products, so it has little in its way: sums are multiplied only when a
// maximum has grown by much, maxima are taken in several chains, and what a tile needs of the mask
// is known before its scores are there.
//
// A block for each multiprocessor computes tile after tile of queries, each the next that no block
// has taken (attention_order.h). One warp takes them and finds what they see, another copies the
// next one's queries and keys while this one's results are stored.
//
// Every block that computes queries of a head reads the same keys and values, from the L2 cache,
// which is near its limit at head width 128. Where neighbouring tiles of queries see the same tiles
// of keys, a second kernel has them computed by the two blocks of a cluster, which each copy half
// of every tile of keys to both (multicast), as FlashAttention-3 does. Only the masks on the device
// tell where that is, so the kernel that does not suit them ends at once.

namespace lacuna {
namespace hopper {
namespace {

constexpr int kKeys = 128;
constexpr int kCopyingRegisters = 40, kComputingRegisters = 232;
static_assert(registers_fit(kCopyingRegisters, kComputingRegisters));

/// Powers of two by which scores may exceed the maximum that sums are relative to, before sums are
/// multiplied to make them relative to a new one: weights stay below 2^8, where bf16 is as exact as
/// below 1. From FlashAttention-4.
constexpr float kMostGrowth = 8;

/// Blocks of a cluster.
constexpr int kPair = 2;

/// Which of the two kernels computes; on the device.
struct Plan {
  std::int32_t tickets;   // items that the blocks without clusters have taken
  std::uint32_t apart;    // 1: some pair of tiles of queries sees different tiles of keys
  std::int32_t pairs;     // of tiles of queries, the second of which may not exist
  std::uint32_t longest;  // tiles of keys that a pair sees at most
  std::int32_t used;      // tiles of keys, over all pairs and the tiles that exist in them
};
static_assert(sizeof(Plan) <= kPingpongWorkspace);
/// Clusters gain a few per cent (docs/performance.md), which must not be lost by blocks without
/// queries in their pair, nor by pairs that end before others: clusters take them in turns.
__device__ __forceinline__ bool pairs_pay(const Plan& plan) {
  const std::int64_t most = std::int64_t{plan.pairs} * kPair * plan.longest;
  return plan.apart == 0 && (most - plan.used) * 32 <= most;
}

/// Of queries, of which one head is computed, and what they see.
struct Item {
  int head, first, count, first_key, keys;  // count 0: there are no more; -1: not for this block
  int begin;       // the number of its first tile of keys, counted over all items
  KeyTiles tiles;  // from number `begin` on
};
/// Under way: one is computed, the next one's queries are copied.
constexpr int kItems = 2;

template <int D>
constexpr int kTile = tile_bytes<D>(kKeys);
struct Barriers {
  MemoryBarrier item_here[kItems], item_read[kItems], queries_here[kItems];
  MemoryBarrier keys_here[kStages], values_here[kStages], keys_read[kStages], values_read[kStages];
  // In turns: from the cluster's other block, tiles may come before all of the last tail has.
  MemoryBarrier tail_copied[kStages];
};
/// In shared memory: queries of each item, keys and values of each stage, items, barriers.
template <int D>
constexpr int kKeysAt = kItems* tile_bytes<D>(kOwn);
template <int D>
constexpr int kItemsAt = kKeysAt<D> + 2 * kStages* kTile<D>;
constexpr int kItemBytes = (int(sizeof(Item)) + 15) / 16 * 16;
template <int D>
constexpr int kBarriersAt = kItemsAt<D> + kItems* kItemBytes;
template <int D>
constexpr std::size_t kShared = kSlack + kBarriersAt<D> + sizeof(Barriers);
static_assert(kShared<128> <= kMostShared);

template <int D>
__device__ __forceinline__ Item* item_at(unsigned char* memory, int i) {
  return reinterpret_cast<Item*>(memory + kItemsAt<D> + i % kItems * kItemBytes);
}
/// The parity of use i of one of n things that are used in turns.
__device__ __forceinline__ unsigned parity(int i, int n) { return unsigned(i / n & 1); }

/// The same tiles as number n, n + 1, … up to count.
__device__ __forceinline__ KeyTiles numbered_from(KeyTiles tiles, int n) {
  tiles.first0 -= n;
  tiles.count0 += n;
  tiles.count += n;
  return tiles;
}

/// One warp. It takes the next item when the last but one has been read. A cluster's items are
/// tiles of as many rows as its blocks compute together, in turns with the other clusters: all take
/// about as long.
template <int D, int kCluster>
__device__ __forceinline__ void take_items(unsigned char* memory, Barriers* barriers,
                                           const AttentionArguments<BFloat16>& a,
                                           const ItemOrder& order, std::int32_t* tickets) {
  const bool leader = threadIdx.x % kWarpSize == 0;
  const int own_row = kCluster == 1 ? 0 : int(block_rank()) * kOwn;
  int next = int(blockIdx.x) / kCluster;
  int begin = 0;
  for (int i = 0;; ++i) {
    barrier_wait(&barriers->item_read[i % kItems], parity(i, kItems) ^ 1);
    int item;
    AttentionTile tile{};
    do {  // slots may be empty
      if constexpr (kCluster == 1) {
        item = __shfl_sync(~0u, leader ? take_ticket(tickets) : 0, 0);
      } else {
        item = next;
        next += int(gridDim.x) / kCluster;
      }
      if (item < order.count)
        tile = tile_in_slot(a.query_offsets, a.segments, order.slot(item), kCluster * kOwn);
    } while (item < order.count && tile.count == 0);
    const bool exists = item < order.count;
    const int first_key = exists ? a.key_offsets[tile.segment] : 0;
    const int keys = exists ? a.key_offsets[tile.segment + 1] - first_key : 0;
    const KeyIntervals hull =
        exists ? hull_of(a, tile.first, tile.count, first_key) : KeyIntervals{};
    if (leader) {
      // None are left for a cluster's last block where its tile ends before.
      const int left = tile.count - own_row, own = left <= 0 ? -1 : left < kOwn ? left : kOwn;
      const KeyTiles tiles = numbered_from(KeyTiles(hull, kKeys), begin);
      *item_at<D>(memory, i) = Item{
          order.head(item), tile.first + own_row, exists ? own : 0, first_key, keys, begin, tiles};
      begin = tiles.count;
      barrier_arrive(&barriers->item_here[i % kItems]);
    }
    if (!exists) return;
  }
}

/// A warp's lanes are done with a stage, which then has room for copies of all blocks.
template <int kCluster>
__device__ __forceinline__ void give_room(MemoryBarrier* read, int lane) {
  if constexpr (kCluster == 1) {
    if (lane == 0) barrier_arrive(read);
  } else {
    if (lane < kCluster) barrier_arrive_at(read, unsigned(lane));
  }
}
/// A tile of keys, or of their values. Each of a cluster's blocks copies one of its boxes to all:
/// bytes of all of its boxes count at `here`.
template <int D, int kCluster>
__device__ __forceinline__ void load_keys(unsigned char* tile, const TensorMap& map, int column,
                                          int row, MemoryBarrier* here) {
  if constexpr (kCluster == 1) {
    load_tile<D>(tile, kKeys, map, column, row, here);
  } else {
    static_assert(D == kCluster * kBoxColumns);
    const int box = int(block_rank());
    tma_multicast(tile + box * kKeys * kBoxRowBytes, map, column + box * kBoxColumns, row, here,
                  (1u << kCluster) - 1);
  }
}

/// One warp: queries, then keys and values, a tile each, as soon as there is room.
template <int D, int kCluster>
__device__ __forceinline__ void copy_tiles(unsigned char* memory, Barriers* barriers,
                                           const TensorMap& q_map, const TensorMap& k_map,
                                           const TensorMap& v_map, int heads_each) {
  unsigned char* key_tiles = memory + kKeysAt<D>;
  unsigned char* value_tiles = key_tiles + kStages * kTile<D>;
  const bool leader = threadIdx.x % kWarpSize == 0;
  int tails = 0;
  for (int i = 0;; ++i) {
    barrier_wait(&barriers->item_here[i % kItems], parity(i, kItems));
    const Item& item = *item_at<D>(memory, i);
    if (item.count == 0) return;
    if (leader) {  // the item is here, so its predecessor in that place has been read
      unsigned char* queries = memory + i % kItems * tile_bytes<D>(kOwn);
      MemoryBarrier* here = &barriers->queries_here[i % kItems];
      barrier_arrive_expecting(here, tile_bytes<D>(kOwn));
      for (int w = 0; w < kComputing; ++w)
        load_tile<D>(queries + w * tile_bytes<D>(kWarpgroupRows), kWarpgroupRows, q_map,
                     item.head * D, item.first + w * kWarpgroupRows, here);
    }
    const int kv_column = item.head / heads_each * D;
    for (int t = item.begin; t < item.tiles.count; ++t) {
      const int stage = t % kStages, begin = item.tiles[t] * kKeys;
      const int row = item.first_key + begin, valid = item.keys - begin;
      const unsigned before = parity(t, kStages) ^ 1;
      MemoryBarrier* here = &barriers->values_here[stage];
      MemoryBarrier* copied = valid < kKeys ? &barriers->tail_copied[tails % kStages] : here;
      unsigned char* value_tile = value_tiles + stage * kTile<D>;
      if (leader) {
        barrier_wait(&barriers->keys_read[stage], before);
        barrier_arrive_expecting(&barriers->keys_here[stage], kTile<D>);
        load_keys<D, kCluster>(key_tiles + stage * kTile<D>, k_map, kv_column, row,
                               &barriers->keys_here[stage]);
        barrier_wait(&barriers->values_read[stage], before);
        barrier_arrive_expecting(copied, kTile<D>);
        load_keys<D, kCluster>(value_tile, v_map, kv_column, row, copied);
      }
      if (valid < kKeys) {
        clear_tail<D, kKeys, 1>(value_tile, valid, copied, parity(tails, kStages), here);
        ++tails;
      }
    }
    __syncwarp();
    if (leader) barrier_arrive(&barriers->item_read[i % kItems]);
  }
}

/// Of a thread's two rows; maxima and weights are of scores times `factor`, in powers of two.
struct Softmax {
  float max[2], total[2], kept[2];
  float factor;  // scale log2 e

  __device__ __forceinline__ void begin() {
    max[0] = max[1] = -INFINITY;
    total[0] = total[1] = 0;
  }
  /// scores -> weights; kept: what earlier sums are to be multiplied by. Returns whether that is
  /// 1 in all rows of the warp.
  template <int n>
  __device__ __forceinline__ bool take(float (&scores)[n]) {
    constexpr int kChains = 4;
    bool same = true;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float part[kChains];
#pragma unroll
      for (int b = 0; b < n / 4; ++b)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int chain = (2 * b + i) % kChains;
          const float s = scores[4 * b + 2 * half + i];
          part[chain] = 2 * b + i < kChains ? s : fmaxf(part[chain], s);
        }
      const float tile_max = mma::row_max(fmaxf(fmaxf(part[0], part[1]), fmaxf(part[2], part[3])));
      // False of -inf less -inf: nothing seen yet.
      const bool grows = (tile_max - max[half]) * factor > kMostGrowth;
      const float new_max = grows ? tile_max : max[half];
      const float base = new_max == -INFINITY ? 0.0f : new_max * factor;
      kept[half] = grows ? fast_exp2(max[half] * factor - base) : 1.0f;
      max[half] = new_max;
      same = same && !grows;
      float sum = 0;
#pragma unroll
      for (int b = 0; b < n / 4; ++b)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& s = scores[4 * b + 2 * half + i];
          s = fast_exp2(s * factor - base);
          sum += s;
        }
      total[half] = total[half] * kept[half] + sum;
    }
    return warp_all(same);
  }
};

template <int D, int kCluster>
__device__ __forceinline__ void compute(unsigned char* memory, Barriers* barriers,
                                        const AttentionArguments<BFloat16>& a) {
  const int warpgroup = my_warpgroup() - 1, lane = int(threadIdx.x) % kWarpSize;
  const int group = lane / 4, member = lane % 4;
  const int own_row = warpgroup * kWarpgroupRows;
  const int row = own_row + int(threadIdx.x) % kWarpgroup / kWarpSize * mma::kRows + group;
  const std::uint32_t key_tiles = window_address(memory + kKeysAt<D>);
  const std::uint32_t value_tiles = key_tiles + kStages * kTile<D>;
  Softmax softmax;
  softmax.factor = a.scale * kLog2E;
  float sums[D / 2], scores[kKeys / 2];
  std::uint32_t weights[kKeys / 16][4];

  for (int i = 0;; ++i) {
    barrier_wait(&barriers->item_here[i % kItems], parity(i, kItems));
    const Item& item = *item_at<D>(memory, i);  // registers are few
    if (item.count == 0) return;
    const KeyTiles tiles = item.tiles;
    const int n = item.begin;
    if (i == 0 && warpgroup == 1) give_products_away(warpgroup);
    unsigned char* own_tile =
        memory + i % kItems * tile_bytes<D>(kOwn) + warpgroup * tile_bytes<D>(kWarpgroupRows);
    const std::uint32_t own = window_address(own_tile);
    KeyIntervals visible[2];
    for (int half = 0; half < 2; ++half)
      visible[half] = row + 8 * half < item.count
                          ? keys_of(a, item.first + row + 8 * half, item.first_key)
                          : all_keys(item.keys);
    const auto begin_scores = [&](int t) {
      const int stage = t % kStages;
      barrier_wait(&barriers->keys_here[stage], parity(t, kStages));
      wgmma_fence(scores);
      multiply_by_rows<D, kKeys>(scores, own, key_tiles + stage * kTile<D>);
      wgmma_commit();
    };
    const auto wait_for_values = [&](int t) {
      barrier_wait(&barriers->values_here[t % kStages], parity(t, kStages));
    };
    const auto begin_sums = [&](int t) {
      wgmma_fence(sums, weights);
      add_weighted_rows<D, kKeys>(sums, weights, value_tiles + t % kStages * kTile<D>);
      wgmma_commit();
    };
    const auto all_see = [&](int t) {
      const int begin = tiles[t] * kKeys;
      return warp_all(sees_all(visible[0], begin, begin + kKeys) &&
                      sees_all(visible[1], begin, begin + kKeys));
    };
    // Most tiles are seen whole by all rows of a warp: nothing to compare there.
    const auto take_scores = [&](int t, bool whole) {
      give_room<kCluster>(&barriers->keys_read[t % kStages], lane);
      if (!whole) {
        const int first = tiles[t] * kKeys + 2 * member;
        const KeyIntervals from_first[2] = {counted_from(visible[0], first),
                                            counted_from(visible[1], first)};
#pragma unroll
        for (int s = 0; s < kKeys / 2; ++s)
          if (!sees(from_first[s % 4 / 2], s / 4 * 8 + s % 2)) scores[s] = -INFINITY;
      }
      return softmax.take(scores);
    };

    softmax.begin();
#pragma unroll
    for (int s = 0; s < D / 2; ++s) sums[s] = 0;
    barrier_wait(&barriers->queries_here[i % kItems], parity(i, kItems));
    wait_for_products(warpgroup);
    begin_scores(n);
    give_products_away(warpgroup);
    const bool first_whole = all_see(n);
    wgmma_wait<0>(scores);
    take_scores(n, first_whole);
    round_weights<kKeys>(weights, scores);
    wait_for_values(n);
    // The tensor cores add up a tile's values while the next one's softmax is taken. For that ptxas
    // must leave wait<0> behind the softmax; as it depends on no register, ptxas moves it to the
    // beginning of its basic block, and moves what needs no wait behind. The loop that waits for
    // the next tile's values, which are needed soon anyway, ends the softmax's block, and which
    // tile it waits for depends on the weights: their sum is never below 0, which ptxas does not
    // know. scripts/check_hopper_sass.sh sees where the wait is.
    for (int t = n + 1; t < tiles.count; ++t) {
      wait_for_products(warpgroup);
      begin_scores(t);
      begin_sums(t - 1);
      give_products_away(warpgroup);
      const bool whole = all_see(t);
      wgmma_wait<1>(scores);
      const bool same = take_scores(t, whole);
      wait_for_values(t + (softmax.total[0] + softmax.total[1] < 0));
      wgmma_wait<0>(sums, weights);
      give_room<kCluster>(&barriers->values_read[(t - 1) % kStages], lane);
      if (!same) {
#pragma unroll
        for (int s = 0; s < D / 2; ++s) sums[s] *= softmax.kept[s % 4 / 2];
      }
      round_weights<kKeys>(weights, scores);
    }
    const int last = tiles.count - 1;
    wait_for_products(warpgroup);
    begin_sums(last);
    // The last turn of all is given to nobody.
    barrier_wait(&barriers->item_here[(i + 1) % kItems], parity(i + 1, kItems));
    if (warpgroup == 0 || item_at<D>(memory, i + 1)->count != 0) give_products_away(warpgroup);
    float inverse[2];
    for (int half = 0; half < 2; ++half) {
      const float total = mma::row_sum(softmax.total[half]);
      inverse[half] = 1.0f / total;
      if (member == 0 && row + 8 * half < item.count)
        a.lse[std::int64_t{item.first + row + 8 * half} * a.heads + item.head] =
            (softmax.max[half] * softmax.factor + log2f(total)) * kLn2;
    }
    wgmma_wait<0>(sums, weights);
    give_room<kCluster>(&barriers->values_read[last % kStages], lane);
    sync_computing(warpgroup);  // nobody reads the queries any more
    store_rows<D>(
        a.out + std::int64_t{item.first + own_row} * a.out_stride + std::int64_t{item.head} * D,
        a.out_stride, item.count - own_row, sums, own_tile,
        [&](int half) { return inverse[half]; });
    arrive_with_stores(&barriers->item_read[i % kItems]);
  }
}

template <int D, int kCluster>
__global__ void __launch_bounds__(kThreads, 1)
    pingpong_forward_kernel(const __grid_constant__ TensorMap q_map,
                            const __grid_constant__ TensorMap k_map,
                            const __grid_constant__ TensorMap v_map, AttentionArguments<BFloat16> a,
                            ItemOrder order, Plan* plan) {
  if constexpr (kHopperCode) {
    if (pairs_pay(*plan) != (kCluster > 1)) return;
    unsigned char* memory = aligned_shared();
    auto* barriers = reinterpret_cast<Barriers*>(memory + kBarriersAt<D>);
    if (threadIdx.x == 0) {
      for (int i = 0; i < kItems; ++i) {
        barrier_init(&barriers->item_here[i], 1);
        barrier_init(&barriers->item_read[i], 1 + kComputingWarps);
        barrier_init(&barriers->queries_here[i], 1);
      }
      for (int s = 0; s < kStages; ++s) {
        barrier_init(&barriers->keys_here[s], 1);
        barrier_init(&barriers->values_here[s], 1);
        barrier_init(&barriers->keys_read[s], kCluster * kComputingWarps);
        barrier_init(&barriers->values_read[s], kCluster * kComputingWarps);
        barrier_init(&barriers->tail_copied[s], 1);
      }
      barrier_init_done();
    }
    if constexpr (kCluster == 1)
      __syncthreads();
    else
      sync_cluster();
    if (my_warpgroup() == 0) {
      fewer_registers<kCopyingRegisters>();
      const int warp = int(threadIdx.x) / kWarpSize;
      if (warp == 0)
        copy_tiles<D, kCluster>(memory, barriers, q_map, k_map, v_map, a.heads / a.kv_heads);
      else if (warp == 1)
        take_items<D, kCluster>(memory, barriers, a, order, &plan->tickets);
    } else {
      more_registers<kComputingRegisters>();
      compute<D, kCluster>(memory, barriers, a);
    }
    if constexpr (kCluster > 1) sync_cluster();  // the other block may still reach this one
  } else {
    __trap();
  }
}

__global__ void begin_plan_kernel(Plan* plan, bool pairs) { *plan = {0, pairs ? 0u : 1u, 0, 0, 0}; }

/// A warp for each pair of tiles.
__global__ void plan_pairs_kernel(AttentionMask a, int slots, Plan* plan) {
  const int slot = int((std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kWarpSize);
  if (slot >= slots) return;
  const AttentionTile pair = tile_in_slot(a.query_offsets, a.segments, slot, kPair * kOwn);
  if (pair.count == 0) return;
  const int first_key = a.key_offsets[pair.segment], second = pair.count - kOwn;
  const KeyTiles tiles(hull_of(a, pair.first, second > 0 ? kOwn : pair.count, first_key), kKeys);
  bool same = true;
  if (second > 0) {
    const KeyTiles other(hull_of(a, pair.first + kOwn, second, first_key), kKeys);
    same = tiles == other;
  }
  if (threadIdx.x % kWarpSize != 0) return;
  if (!same) atomic_max(&plan->apart, 1);
  atomic_add(&plan->pairs, 1);
  atomic_max(&plan->longest, std::uint32_t(tiles.count));
  atomic_add(&plan->used, second > 0 ? 2 * tiles.count : tiles.count);
}

/// How many heads are computed beside each other: a divisor of all.
int section_of(const AttentionArguments<BFloat16>& a, std::int64_t keys, int D) {
  constexpr std::int64_t kCached = 32 << 20;  // of an H100's 50 MB
  const std::int64_t bytes = 2 * keys * D * std::int64_t{sizeof(BFloat16)} * a.kv_heads / a.heads;
  int heads = 1;
  for (int n = 2; n <= a.heads && n * bytes <= kCached; ++n)
    if (a.heads % n == 0) heads = n;
  return heads;
}

template <int D, int kCluster>
void launch_forward(const char* op, CUstream_st* stream, const AttentionArguments<BFloat16>& a,
                    std::int64_t queries, std::int64_t keys, int multiprocessors, Plan* plan) {
  ItemOrder order{};
  order.slots = int(tile_slots(queries, a.segments, kCluster * kOwn));
  order.section_heads = section_of(a, keys, D);
  order.count = order.slots * a.heads;
  const int most = multiprocessors / kCluster;
  const auto clusters = unsigned(order.count < most ? order.count : most);
  const std::int64_t kv_columns = std::int64_t{a.kv_heads} * D;
  launch({op, clusters * kCluster, kThreads, kShared<D>, stream, kCluster},
         pingpong_forward_kernel<D, kCluster>,
         tensor_map(op, a.q, queries, std::int64_t{a.heads} * D, a.q_stride, kWarpgroupRows),
         tensor_map(op, a.k, keys, kv_columns, a.k_stride, kKeys),
         tensor_map(op, a.v, keys, kv_columns, a.v_stride, kKeys), a, order, plan);
}

template <int D>
void pingpong_forward(const char* op, CUstream_st* stream, const AttentionArguments<BFloat16>& a,
                      std::int64_t queries, std::int64_t keys, int multiprocessors,
                      std::optional<bool> clusters, Plan* plan) {
  constexpr bool kHasPairs = D == kPair * kBoxColumns;
  const bool pairs = kHasPairs && multiprocessors >= kPair && clusters.value_or(true);
  launch({op, 1, 1, 0, stream}, begin_plan_kernel, plan, pairs);
  if constexpr (kHasPairs) {
    if (pairs && !clusters) {
      constexpr int kPlanThreads = 128;
      const std::int64_t slots = tile_slots(queries, a.segments, kPair * kOwn);
      launch({op, blocks_for_vector(slots * kWarpSize, kPlanThreads, 1), kPlanThreads, 0, stream},
             plan_pairs_kernel, a, int(slots), plan);
    }
    if (pairs) launch_forward<D, kPair>(op, stream, a, queries, keys, multiprocessors, plan);
  }
  if (!pairs || !clusters)
    launch_forward<D, 1>(op, stream, a, queries, keys, multiprocessors, plan);
}

}  // namespace
}  // namespace hopper

void attention_hopper_pingpong_forward(const char* op, CUstream_st* stream,
                                       const AttentionArguments<BFloat16>& a, std::int64_t queries,
                                       std::int64_t keys, int multiprocessors,
                                       std::optional<bool> clusters, void* workspace) {
  const auto forward =
      a.head_dim == 64 ? hopper::pingpong_forward<64> : hopper::pingpong_forward<128>;
  forward(op, stream, a, queries, keys, multiprocessors, clusters,
          static_cast<hopper::Plan*>(workspace));
}

}  // namespace lacuna
