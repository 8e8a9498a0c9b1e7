#pragma once
#include "kernels/cuda/attention.cuh"

// Tiles of bf16 rows in shared memory and what tensor cores (mma.sync m16n8k16) read from them, in
// the manner of FlashAttention-2 (arXiv:2307.08691). A row of D elements is D / 8 chunks of 16
// bytes; chunk c of row r lies at place c ^ (r % 8), so that the eight rows an ldmatrix reads lie
// in different banks.
//
// A warp's sums are fragments: `float x[n][4]`, n blocks of 8 columns; with group = lane / 4 and
// member = lane % 4, x[b][0..1] are columns 8 b + 2 member and the next of row `group`, x[b][2..3]
// of row group + 8.

namespace lacuna::mma {

constexpr int kWarps = 4, kThreads = kWarps * kWarpSize;
/// Rows of a fragment.
constexpr int kRows = 16;

using Fragment = std::uint32_t[4];

template <int D>
__device__ __forceinline__ BFloat16* chunk(BFloat16* tile, int row, int c) {
  return tile + row * D + (c ^ (row & 7)) * 8;
}

/// Begins to copy `rows` rows, zeros beyond `valid` of them.
template <int D, int rows>
__device__ __forceinline__ void load_tile(BFloat16* tile, const BFloat16* global,
                                          std::int64_t stride, int valid) {
  constexpr int kChunks = D / 8, kStep = kThreads / kChunks;  // rows that all threads take at once
  static_assert(kStep % 8 == 0 && rows % kStep == 0);
  const int row = int(threadIdx.x) / kChunks, c = int(threadIdx.x) % kChunks;
  const SharedAddress to = shared_address(chunk<D>(tile, row, c));
  const BFloat16* from = global + row * stride + c * 8;
#pragma unroll
  for (int i = 0; i < rows; i += kStep) {
    const bool exists = row + i < valid;
    cp_async_16(to + i * D * sizeof(BFloat16), exists ? from + i * stride : global,
                exists ? 16 : 0);
  }
}

/// Where the chunk 2 k + c of a row is, c being 0 or 1, given the place of chunk c: the lower two
/// bits of k meet the row's number in an exclusive or, the others are simply further on. So a lane
/// needs one address for all of a tile, whose rows begin at multiples of 128 bytes.
__device__ __forceinline__ SharedAddress further(SharedAddress first, int k) {
  return (first ^ SharedAddress(k % 4 * 32)) + k / 4 * 128;
}

/// Rows [row, row + 16), columns [16 k, 16 k + 16) of a tile, as the first factor.
template <int D>
__device__ __forceinline__ void load_a(Fragment& a, BFloat16* tile, int row, int k) {
  const int lane = int(threadIdx.x) % kWarpSize;
  ldmatrix_x4<false>(a, further(shared_address(chunk<D>(tile, row + lane % 16, lane / 16)), k));
}

/// The second factor of x tile^T: rows [row, row + 16) of the tile are 16 columns of the product,
/// its columns [16 k, 16 k + 16) are summed over. b[0..1] are for the first 8 columns, b[2..3] for
/// the others.
template <int D>
__device__ __forceinline__ void load_b_of_rows(Fragment& b, BFloat16* tile, int row, int k) {
  const int lane = int(threadIdx.x) % kWarpSize;
  const auto first = shared_address(chunk<D>(tile, lane / 16 * 8 + lane % 8, lane / 8 % 2));
  ldmatrix_x4<false>(b, further(first, k) + row * D * sizeof(BFloat16));
}

/// The second factor of x tile: rows [row, row + 16) are summed over, columns [16 n, 16 n + 16) are
/// columns of the product.
template <int D>
__device__ __forceinline__ void load_b_of_columns(Fragment& b, BFloat16* tile, int row, int n) {
  const int lane = int(threadIdx.x) % kWarpSize;
  const auto first = shared_address(chunk<D>(tile, lane % 16, lane / 16));
  ldmatrix_x4<true>(b, further(first, n) + row * D * sizeof(BFloat16));
}

/// sums [16 m, 8 blocks] = own rows [row, row + 16 m) times the first 8 blocks rows of `other`,
/// transposed: scores. Each second factor read from shared memory serves m products.
template <int D, int m, int blocks>
__device__ __forceinline__ void multiply_by_rows(float (&sums)[m][blocks][4], BFloat16* own,
                                                 int row, BFloat16* other) {
  static_assert(blocks % 2 == 0);
#pragma unroll
  for (int i = 0; i < m; ++i)
    for (int n = 0; n < blocks; ++n)
      for (int j = 0; j < 4; ++j) sums[i][n][j] = 0;
#pragma unroll
  for (int k = 0; k < D / 16; ++k) {
    Fragment a[m], b;
#pragma unroll
    for (int i = 0; i < m; ++i) load_a<D>(a[i], own, row + 16 * i, k);
#pragma unroll
    for (int n = 0; n < blocks; n += 2) {
      load_b_of_rows<D>(b, other, n * 8, k);
#pragma unroll
      for (int i = 0; i < m; ++i) {
        mma_bf16(sums[i][n], a[i], b[0], b[1]);
        mma_bf16(sums[i][n + 1], a[i], b[2], b[3]);
      }
    }
  }
}

/// sums [16 m, D] += weights [16 m, 8 blocks], rounded to bf16, times the first 8 blocks rows of
/// `other`.
template <int D, int m, int blocks>
__device__ __forceinline__ void add_weighted_rows(float (&sums)[m][D / 8][4],
                                                  const float (&weights)[m][blocks][4],
                                                  BFloat16* other) {
#pragma unroll
  for (int k = 0; k < blocks / 2; ++k) {
    Fragment a[m], b;
#pragma unroll
    for (int i = 0; i < m; ++i)
      for (int j = 0; j < 4; ++j) {
        const auto& pair = weights[i][2 * k + j / 2];
        a[i][j] = pack_bf16(pair[j % 2 * 2], pair[j % 2 * 2 + 1]);
      }
#pragma unroll
    for (int n = 0; n < D / 16; ++n) {
      load_b_of_columns<D>(b, other, k * 16, n);
#pragma unroll
      for (int i = 0; i < m; ++i) {
        mma_bf16(sums[i][2 * n], a[i], b[0], b[1]);
        mma_bf16(sums[i][2 * n + 1], a[i], b[2], b[3]);
      }
    }
  }
}

/// A warp's sums times row_factor(0 or 1, for rows group and group + 8), rounded, to the first
/// `valid` of 16 rows of global memory, by way of rows [row, row + 16) of a tile that only this
/// warp still uses: lanes write whole chunks.
template <int D, class Factor>
__device__ __forceinline__ void store_rows(BFloat16* global, std::int64_t stride, int valid,
                                           const float (&sums)[D / 8][4], BFloat16* tile, int row,
                                           Factor&& row_factor) {
  const int lane = int(threadIdx.x) % kWarpSize, group = lane / 4, member = lane % 4;
  __syncwarp();
#pragma unroll
  for (int n = 0; n < D / 8; ++n)
    for (int half = 0; half < 2; ++half) {
      const float factor = row_factor(half);
      Pack<BFloat16, 2> pair;
      pair.v[0] = narrow<BFloat16>(sums[n][2 * half] * factor);
      pair.v[1] = narrow<BFloat16>(sums[n][2 * half + 1] * factor);
      store_pack<2>(chunk<D>(tile, row + group + 8 * half, n) + 2 * member, pair);
    }
  __syncwarp();
  constexpr int kChunks = D / 8;
#pragma unroll
  for (int i = 0; i < kRows * kChunks / kWarpSize; ++i) {
    const int at = i * kWarpSize + lane, r = at / kChunks, c = at % kChunks;
    if (r < valid)
      store_pack<8>(global + r * stride + c * 8, load_pack<8>(chunk<D>(tile, row + r, c)));
  }
}

/// Over the four lanes that share a row.
__device__ __forceinline__ float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
__device__ __forceinline__ float row_sum(float x) {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}

/// Scores of more keys enter the softmax of every row: they become exp2(score factor - max), with
/// max the largest so far, to which sums and the lanes' parts of total are rescaled. factor: scale
/// log2 e.
template <int D, int m, int blocks>
__device__ __forceinline__ void online_softmax(float (&scores)[m][blocks][4], float (&max)[m][2],
                                               float (&total)[m][2], float (&sums)[m][D / 8][4],
                                               float factor) {
#pragma unroll
  for (int f = 0; f < m; ++f)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float tile_max = -INFINITY;
      for (int n = 0; n < blocks; ++n)
        for (int i = 0; i < 2; ++i) {
          float& s = scores[f][n][2 * half + i];
          s *= factor;
          tile_max = fmaxf(tile_max, s);
        }
      const float new_max = fmaxf(max[f][half], row_max(tile_max));
      const float base = new_max == -INFINITY ? 0.0f : new_max;  // nothing seen yet
      const float old = fast_exp2(max[f][half] - base);
      max[f][half] = new_max;
      total[f][half] *= old;
      for (int n = 0; n < D / 8; ++n)
        for (int i = 0; i < 2; ++i) sums[f][n][2 * half + i] *= old;
      for (int n = 0; n < blocks; ++n)
        for (int i = 0; i < 2; ++i) {
          float& s = scores[f][n][2 * half + i];
          s = fast_exp2(s - base);
          total[f][half] += s;
        }
    }
}

}  // namespace lacuna::mma
