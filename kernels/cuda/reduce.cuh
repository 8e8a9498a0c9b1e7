#pragma once
#include "kernels/cuda/world.h"

// Sums and maxima over the threads of a warp or block. Every thread gets the same result, and the
// order of the additions is fixed. A block must be a multiple of 32 threads, all of which call.

namespace lacuna {

constexpr int kWarpSize = 32;

template <class T>
__device__ __forceinline__ T warp_sum(T x) {
  for (int bits = 16; bits; bits /= 2) x += __shfl_xor_sync(~0u, x, bits);
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
  for (int bits = 16; bits; bits /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, bits));
  return x;
}

template <class T, int threads>
__device__ T block_sum(T x) {
  static_assert(threads % kWarpSize == 0);
  __shared__ T parts[threads / kWarpSize];
  x = warp_sum(x);
  if (threadIdx.x % kWarpSize == 0) parts[threadIdx.x / kWarpSize] = x;
  __syncthreads();
  T sum = parts[0];
  for (int i = 1; i < threads / kWarpSize; ++i) sum += parts[i];
  __syncthreads();  // parts may be used again
  return sum;
}

}  // namespace lacuna
