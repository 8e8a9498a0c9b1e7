#include "kernels/cuda/attention_hopper.cuh"
#include "kernels/cuda/dispatch.h"

namespace lacuna {
namespace hopper {
namespace {

constexpr int kKeys = 128;
constexpr int kCopyingRegisters = 24, kComputingRegisters = 240;
static_assert(registers_fit(kCopyingRegisters, kComputingRegisters));

template <int D>
constexpr int kTile = tile_bytes<D>(kKeys);

/// In shared memory, behind the tiles.
struct Barriers {
  MemoryBarrier queries, keys_here[kStages], values_here[kStages], keys_read[kStages],
      values_read[kStages], tail_copied;
};
template <int D>
constexpr int kBarriersAt = tile_bytes<D>(kOwn) + 2 * kStages* kTile<D>;
template <int D>
constexpr std::size_t kShared = kSlack + kBarriersAt<D> + sizeof(Barriers);

/// One warp: queries once, then keys and values, a tile each, as soon as there is room.
template <int D>
__device__ __forceinline__ void copy_tiles(unsigned char* memory, Barriers* barriers,
                                           const TensorMap& q_map, const TensorMap& k_map,
                                           const TensorMap& v_map, int column, int kv_column,
                                           int first_query, int first_key, int keys,
                                           const KeyTiles& tiles) {
  unsigned char* key_tiles = memory + tile_bytes<D>(kOwn);
  unsigned char* value_tiles = key_tiles + kStages * kTile<D>;
  const bool leader = threadIdx.x == 0;
  if (leader) {
    barrier_arrive_expecting(&barriers->queries, tile_bytes<D>(kOwn));
    for (int w = 0; w < kComputing; ++w)
      load_tile<D>(memory + w * tile_bytes<D>(kWarpgroupRows), kWarpgroupRows, q_map, column,
                   first_query + w * kWarpgroupRows, &barriers->queries);
  }
  for (int t = 0; t < tiles.count; ++t) {
    const int stage = t % kStages, begin = tiles[t] * kKeys;
    const int row = first_key + begin, valid = keys - begin;
    const unsigned before = unsigned(t / kStages & 1) ^ 1;
    MemoryBarrier* here = &barriers->values_here[stage];
    MemoryBarrier* copied = valid < kKeys ? &barriers->tail_copied : here;
    unsigned char* value_tile = value_tiles + stage * kTile<D>;
    if (leader) {
      barrier_wait(&barriers->keys_read[stage], before);
      barrier_arrive_expecting(&barriers->keys_here[stage], kTile<D>);
      load_tile<D>(key_tiles + stage * kTile<D>, kKeys, k_map, kv_column, row,
                   &barriers->keys_here[stage]);
      barrier_wait(&barriers->values_read[stage], before);
      barrier_arrive_expecting(copied, kTile<D>);
      load_tile<D>(value_tile, kKeys, v_map, kv_column, row, copied);
    }
    if (valid < kKeys) clear_tail<D, kKeys, 1>(value_tile, valid, copied, 0, here);  // the last
  }
}

/// Of a thread's two rows; maxima and weights are of scores times `factor`, in powers of two.
struct Softmax {
  float max[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0}, kept[2];
  float factor;  // scale log2 e

  /// scores -> weights; kept: what earlier sums are to be multiplied by.
  template <int n>
  __device__ __forceinline__ void take(float (&scores)[n]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float tile_max = -INFINITY;
#pragma unroll
      for (int b = 0; b < n / 4; ++b)
#pragma unroll
        for (int i = 0; i < 2; ++i) tile_max = fmaxf(tile_max, scores[4 * b + 2 * half + i]);
      const float new_max = fmaxf(max[half], mma::row_max(tile_max));
      const float base = new_max == -INFINITY ? 0.0f : new_max * factor;  // nothing seen yet
      kept[half] = fast_exp2(max[half] * factor - base);
      max[half] = new_max;
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
  }
};

template <int D>
__device__ __forceinline__ void compute(unsigned char* memory, Barriers* barriers,
                                        const AttentionArguments<BFloat16>& a,
                                        const AttentionTile& tile, int head, int first_key,
                                        int keys, const KeyTiles& tiles) {
  const int warpgroup = my_warpgroup() - 1, lane = int(threadIdx.x) % kWarpSize;
  const int group = lane / 4, member = lane % 4;
  const int own_row = warpgroup * kWarpgroupRows;
  const int row = own_row + int(threadIdx.x) % kWarpgroup / kWarpSize * mma::kRows + group;
  unsigned char* own_tile = memory + warpgroup * tile_bytes<D>(kWarpgroupRows);
  const std::uint32_t own = window_address(own_tile);
  const std::uint32_t key_tiles = window_address(memory + tile_bytes<D>(kOwn));
  const std::uint32_t value_tiles = key_tiles + kStages * kTile<D>;
  KeyIntervals visible[2];
  for (int half = 0; half < 2; ++half)
    visible[half] = row + 8 * half < tile.count ? keys_of(a, tile.first + row + 8 * half, first_key)
                                                : all_keys(keys);

  Softmax softmax;
  softmax.factor = a.scale * kLog2E;
  float sums[D / 2], scores[kKeys / 2];
  std::uint32_t weights[kKeys / 16][4];
#pragma unroll
  for (int i = 0; i < D / 2; ++i) sums[i] = 0;
  const auto begin_scores = [&](int t) {
    barrier_wait(&barriers->keys_here[t % kStages], unsigned(t / kStages & 1));
    wgmma_fence(scores);
    multiply_by_rows<D, kKeys>(scores, own, key_tiles + t % kStages * kTile<D>);
    wgmma_commit();
  };
  const auto wait_for_values = [&](int t) {
    barrier_wait(&barriers->values_here[t % kStages], unsigned(t / kStages & 1));
  };
  const auto begin_sums = [&](int t) {
    wgmma_fence(sums, weights);
    add_weighted_rows<D, kKeys>(sums, weights, value_tiles + t % kStages * kTile<D>);
    wgmma_commit();
  };
  const auto take_scores = [&](int t) {
    if (lane == 0) barrier_arrive(&barriers->keys_read[t % kStages]);
    const int begin = tiles[t] * kKeys;
    // Most tiles are seen whole by all rows of a warp: nothing to compare there.
    if (!warp_all(sees_all(visible[0], begin, begin + kKeys) &&
                  sees_all(visible[1], begin, begin + kKeys))) {
#pragma unroll
      for (int i = 0; i < kKeys / 2; ++i)
        if (!sees(visible[i % 4 / 2], begin + i / 4 * 8 + 2 * member + i % 2))
          scores[i] = -INFINITY;
    }
    softmax.take(scores);
  };

  barrier_wait(&barriers->queries, 0);
  begin_scores(0);
  wgmma_wait<0>(scores);
  take_scores(0);
  round_weights<kKeys>(weights, scores);
  wait_for_values(0);
  // The next tile's scores are computed before this one's weights are used: the tensor cores add up
  // this tile's values while the next one's softmax is taken. For that ptxas must leave wait<0>
  // behind the softmax; as it depends on no register, ptxas moves it to the beginning of its basic
  // block. The loop that waits for the next tile's values, which are needed soon anyway, ends the
  // softmax's block. scripts/check_hopper_sass.sh sees where the wait is.
  for (int t = 1; t < tiles.count; ++t) {
    begin_scores(t);
    begin_sums(t - 1);
    wgmma_wait<1>(scores);
    take_scores(t);
    wait_for_values(t);
    wgmma_wait<0>(sums, weights);
    if (lane == 0) barrier_arrive(&barriers->values_read[(t - 1) % kStages]);
#pragma unroll
    for (int i = 0; i < D / 2; ++i) sums[i] *= softmax.kept[i % 4 / 2];
    round_weights<kKeys>(weights, scores);
  }
  begin_sums(tiles.count - 1);
  wgmma_wait<0>(sums, weights);

  float inverse[2];
  for (int half = 0; half < 2; ++half) {
    const float total = mma::row_sum(softmax.total[half]);
    inverse[half] = 1.0f / total;
    if (member == 0 && row + 8 * half < tile.count)
      a.lse[std::int64_t{tile.first + row + 8 * half} * a.heads + head] =
          (softmax.max[half] * softmax.factor + log2f(total)) * kLn2;
  }
  sync_computing(warpgroup);  // nobody reads the queries any more
  store_rows<D>(a.out + (tile.first + own_row) * a.out_stride + std::int64_t{head} * D,
                a.out_stride, tile.count - own_row, sums, own_tile,
                [&](int half) { return inverse[half]; });
}

template <int D>
__global__ void __launch_bounds__(kThreads, 1)
    forward_kernel(const __grid_constant__ TensorMap q_map, const __grid_constant__ TensorMap k_map,
                   const __grid_constant__ TensorMap v_map, AttentionArguments<BFloat16> a) {
  if constexpr (kHopperCode) {
    // Last tiles first: by a causal mask they see the most keys, and short blocks end together.
    const AttentionTile tile =
        tile_in_slot(a.query_offsets, a.segments, int(gridDim.x - 1 - blockIdx.x), kOwn);
    if (tile.count == 0) return;
    unsigned char* memory = aligned_shared();
    auto* barriers = reinterpret_cast<Barriers*>(memory + kBarriersAt<D>);
    const int head = int(blockIdx.y), kv_head = head / (a.heads / a.kv_heads);
    const int first_key = a.key_offsets[tile.segment];
    const int keys = a.key_offsets[tile.segment + 1] - first_key;
    const KeyTiles tiles(hull_of(a, tile.first, tile.count, first_key), kKeys);
    if (threadIdx.x == 0) {
      barrier_init(&barriers->queries, 1);
      for (int s = 0; s < kStages; ++s) {
        barrier_init(&barriers->keys_here[s], 1);
        barrier_init(&barriers->values_here[s], 1);
        barrier_init(&barriers->keys_read[s], kComputingWarps);
        barrier_init(&barriers->values_read[s], kComputingWarps);
      }
      barrier_init(&barriers->tail_copied, 1);
      barrier_init_done();
    }
    __syncthreads();
    if (my_warpgroup() == 0) {
      fewer_registers<kCopyingRegisters>();
      if (threadIdx.x < kWarpSize)
        copy_tiles<D>(memory, barriers, q_map, k_map, v_map, head * D, kv_head * D, tile.first,
                      first_key, keys, tiles);
    } else {
      more_registers<kComputingRegisters>();
      compute<D>(memory, barriers, a, tile, head, first_key, keys, tiles);
    }
  } else {
    __trap();
  }
}

template <int D>
void forward(const char* op, CUstream_st* stream, const AttentionArguments<BFloat16>& a,
             std::int64_t queries, std::int64_t keys) {
  const auto slots = unsigned(queries ? tile_slots(queries, a.segments, kOwn) : 0);
  const std::int64_t kv_columns = std::int64_t{a.kv_heads} * D;
  launch({op, dim3(slots, unsigned(a.heads)), kThreads, kShared<D>, stream}, forward_kernel<D>,
         tensor_map(op, a.q, queries, std::int64_t{a.heads} * D, a.q_stride, kWarpgroupRows),
         tensor_map(op, a.k, keys, kv_columns, a.k_stride, kKeys),
         tensor_map(op, a.v, keys, kv_columns, a.v_stride, kKeys), a);
}

}  // namespace
}  // namespace hopper

void attention_hopper_forward(const char* op, CUstream_st* stream,
                              const AttentionArguments<BFloat16>& a, std::int64_t queries,
                              std::int64_t keys) {
  if (queries == 0) return;
  const auto forward = a.head_dim == 64 ? hopper::forward<64> : hopper::forward<128>;
  forward(op, stream, a, queries, keys);
}

}  // namespace lacuna
