#pragma once
#include "kernels/platform/intrinsics.h"

// Sums and maxima over the threads of a warp or block. Every thread gets the same result, and the
// order of the additions is fixed. A block must be a multiple of 32 threads, all of which call.

namespace lacuna {

constexpr int kWarpSize = 32, kMaxWarps = 32;

template <class T>
__device__ __forceinline__ T warp_sum(T x) {
  for (int bits = 16; bits; bits /= 2) x += __shfl_xor_sync(~0u, x, bits);
  return x;
}

template <class T>
__device__ __forceinline__ T warp_max(T x) {
  for (int bits = 16; bits; bits /= 2) {
    const T other = __shfl_xor_sync(~0u, x, bits);
    x = other > x ? other : x;
  }
  return x;
}

/// Whether x holds in every lane.
__device__ __forceinline__ bool warp_all(bool x) { return __ballot_sync(~0u, x) == ~0u; }

template <class T>
__device__ __forceinline__ T block_sum(T x) {
  __shared__ T parts[kMaxWarps];
  const int warps = int(blockDim.x) / kWarpSize;
  x = warp_sum(x);
  if (threadIdx.x % kWarpSize == 0) parts[threadIdx.x / kWarpSize] = x;
  __syncthreads();
  T sum = parts[0];
  for (int i = 1; i < warps; ++i) sum += parts[i];
  __syncthreads();  // parts may be used again
  return sum;
}

template <class T>
__device__ __forceinline__ T block_max(T x) {
  __shared__ T parts[kMaxWarps];
  const int warps = int(blockDim.x) / kWarpSize;
  x = warp_max(x);
  if (threadIdx.x % kWarpSize == 0) parts[threadIdx.x / kWarpSize] = x;
  __syncthreads();
  T max = parts[0];
  for (int i = 1; i < warps; ++i) max = parts[i] > max ? parts[i] : max;
  __syncthreads();
  return max;
}

}  // namespace lacuna
