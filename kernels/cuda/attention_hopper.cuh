#pragma once
#include "kernels/cuda/attention_mma.cuh"
#include "kernels/platform/hopper_intrinsics.h"

// What the kernels for sm_90a have in common. A block is three warpgroups: one copies tiles to
// shared memory by the TMA unit, two compute, each with 64 rows of its own, in the manner of
// FlashAttention-3 (arXiv:2407.08608) and ThunderKittens (arXiv:2410.20399). A tile of n rows is
// D / 64 boxes of [n, 64] one behind the other (kernels/platform/hopper_intrinsics.h); a thread's
// part of a sum [64, columns] is `float x[columns / 2]` as wgmma hands it out.
//
// A tile that reaches beyond its segment is copied with rows of the next one, or zeros beyond the
// tensor. Keys and queries that do not exist get weights of exactly 0, but 0 times the NaN or
// infinity of another sequence is NaN: tiles whose rows are summed over have zeros there
// (clear_tail). Of the other tiles those rows only make rows of results that nobody stores.

namespace lacuna::hopper {

constexpr int kWarpgroup = 128, kComputing = 2, kThreads = (1 + kComputing) * kWarpgroup;
constexpr int kWarpgroupRows = 64, kOwn = kComputing * kWarpgroupRows;
constexpr int kComputingWarps = kComputing * kWarpgroup / kWarpSize;
/// Tiles under way while one is computed with.
constexpr int kStages = 2;

template <int D>
constexpr int tile_bytes(int rows) {
  return rows * D * int(sizeof(BFloat16));
}

/// Dynamic shared memory from its first multiple of 1024 on; kernels ask for kSlack more.
constexpr std::size_t kSlack = 1024;
/// What a block can have, less what kernels have of static shared memory.
constexpr std::size_t kMostShared = 227 * 1024 - 256;
__device__ __forceinline__ unsigned char* aligned_shared() {
  auto* memory = dynamic_shared<unsigned char>();
  return memory + (1024 - window_address(memory) % 1024) % 1024;
}

/// Registers per thread: a block starts with the same number in all of its warps, and the computing
/// ones can have more (setmaxnreg) only of those that the copying one gives up.
constexpr bool registers_fit(int copying, int computing) {
  constexpr int kAtFirst = 64 * 1024 / kThreads / 8 * 8;
  return 24 <= copying && copying <= kAtFirst && kAtFirst <= computing && computing <= 256 &&
         copying % 8 == 0 && computing % 8 == 0 &&
         copying + kComputing * computing <= (1 + kComputing) * kAtFirst;
}

/// The same in all threads of a warp, and known to be.
__device__ __forceinline__ int my_warpgroup() {
  return __shfl_sync(~0u, int(threadIdx.x) / kWarpgroup, 0);
}

template <int D>
__device__ __forceinline__ void load_tile(unsigned char* tile, int rows, const TensorMap& map,
                                          int column, int row, MemoryBarrier* barrier) {
#pragma unroll
  for (int box = 0; box < D / kBoxColumns; ++box)
    tma_load(tile + box * rows * kBoxRowBytes, map, column + box * kBoxColumns, row, barrier);
}

/// Makes all rows but the first `valid` of a tile of n rows zero. The swizzle leaves rows where
/// they are. One warp calls.
template <int D, int n>
__device__ __forceinline__ void clear_rows(unsigned char* tile, int valid) {
  constexpr int kPacks = kBoxRowBytes / int(sizeof(Pack<std::uint32_t, 4>));
  for (int box = 0; box < D / kBoxColumns; ++box) {
    auto* rows = reinterpret_cast<std::uint32_t*>(tile + (box * n + valid) * kBoxRowBytes);
    for (int i = int(threadIdx.x) % kWarpSize; i < (n - valid) * kPacks; i += kWarpSize)
      store_pack<4>(rows + 4 * i, Pack<std::uint32_t, 4>{});
  }
}
/// What a warp has stored in shared memory is there for products, and for others that wait for
/// `here`.
__device__ __forceinline__ void arrive_with_stores(MemoryBarrier* here) {
  fence_proxy_async();
  __syncwarp();
  if (threadIdx.x % kWarpSize == 0) barrier_arrive(here);
}
/// For `tiles` tiles of n rows, one behind the other, of which the first `valid` are of the
/// segment: once `copied` has counted their bytes, makes the others zero, then arrives at `here`.
/// One warp calls.
template <int D, int n, int tiles>
__device__ __forceinline__ void clear_tail(unsigned char* tile, int valid, MemoryBarrier* copied,
                                           unsigned parity, MemoryBarrier* here) {
  barrier_wait(copied, parity);
  for (int i = 0; i < tiles; ++i) clear_rows<D, n>(tile + i * tile_bytes<D>(n), valid);
  arrive_with_stores(here);
}

/// All threads of a computing warpgroup, 0 or 1, come here.
__device__ __forceinline__ void sync_computing(int warpgroup) {
  static_assert(kComputing == 2);
  if (warpgroup == 0)
    sync_warpgroups<1>();
  else
    sync_warpgroups<2>();
}
/// The computing warpgroups begin their products in turns, so that one takes its softmax while the
/// other multiplies: a warpgroup waits for its turn, and gives the next one to the other.
__device__ __forceinline__ void wait_for_products(int warpgroup) {
  if (warpgroup == 0)
    sync_warpgroups<4, kComputing * kWarpgroup>();
  else
    sync_warpgroups<5, kComputing * kWarpgroup>();
}
__device__ __forceinline__ void give_products_away(int warpgroup) {
  if (warpgroup == 0)
    arrive_warpgroups<5, kComputing * kWarpgroup>();
  else
    arrive_warpgroups<4, kComputing * kWarpgroup>();
}
/// All threads of both.
__device__ __forceinline__ void sync_all_computing() {
  sync_warpgroups<3, kComputing * kWarpgroup>();
}

/// Begins sums = own rows times `other` rows, transposed: scores. `own` and `other` are addresses
/// of tiles of 64 and n rows.
template <int D, int n>
__device__ __forceinline__ void multiply_by_rows(float (&sums)[n / 2], std::uint32_t own,
                                                 std::uint32_t other) {
  const std::uint64_t a = matrix_descriptor(own), b = matrix_descriptor(other);
#pragma unroll
  for (int k = 0; k < D / 16; ++k) {
    const int box = k / 4, within = k % 4 * 32;
    wgmma_rows(sums, moved(a, box * kWarpgroupRows * kBoxRowBytes + within),
               moved(b, box * n * kBoxRowBytes + within), k > 0);
  }
}

/// Begins sums += weights [64, n] times the n rows of `other`.
template <int D, int n>
__device__ __forceinline__ void add_weighted_rows(float (&sums)[D / 2],
                                                  const std::uint32_t (&weights)[n / 16][4],
                                                  std::uint32_t other) {
  const std::uint64_t b = matrix_descriptor(other, n * kBoxRowBytes);
#pragma unroll
  for (int k = 0; k < n / 16; ++k) wgmma_columns(sums, weights[k], moved(b, k * 16 * kBoxRowBytes));
}

/// A [64, n] sum, rounded, as the first factor of add_weighted_rows.
template <int n>
__device__ __forceinline__ void round_weights(std::uint32_t (&weights)[n / 16][4],
                                              const float (&x)[n / 2]) {
#pragma unroll
  for (int k = 0; k < n / 16; ++k)
#pragma unroll
    for (int i = 0; i < 4; ++i) weights[k][i] = pack_bf16(x[8 * k + 2 * i], x[8 * k + 2 * i + 1]);
}

/// A warpgroup's sums times row_factor(0 or 1, for rows group and group + 8), rounded, to the first
/// `valid` of 64 rows of global memory, by way of its own tile, which nobody reads any more.
template <int D, class Factor>
__device__ __forceinline__ void store_rows(BFloat16* global, std::int64_t stride, int valid,
                                           const float (&sums)[D / 2], unsigned char* own_tile,
                                           Factor&& row_factor) {
  auto* tile = reinterpret_cast<BFloat16*>(own_tile);
  const int lane = int(threadIdx.x) % kWarpSize, group = lane / 4, member = lane % 4;
  const int row = int(threadIdx.x) % kWarpgroup / kWarpSize * mma::kRows;
#pragma unroll
  for (int n = 0; n < D / 8; ++n)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float factor = row_factor(half);
      Pack<BFloat16, 2> pair;
      pair.v[0] = narrow<BFloat16>(sums[4 * n + 2 * half] * factor);
      pair.v[1] = narrow<BFloat16>(sums[4 * n + 2 * half + 1] * factor);
      store_pack<2>(mma::chunk<D>(tile, row + group + 8 * half, n) + 2 * member, pair);
    }
  __syncwarp();
  constexpr int kChunks = D / 8;
#pragma unroll
  for (int i = 0; i < mma::kRows * kChunks / kWarpSize; ++i) {
    const int at = i * kWarpSize + lane, r = row + at / kChunks, c = at % kChunks;
    if (r < valid)
      store_pack<8>(global + r * stride + c * 8, load_pack<8>(mma::chunk<D>(tile, r, c)));
  }
}

}  // namespace lacuna::hopper
