#pragma once
#include "kernels/cuda/reduce.cuh"

// The largest magnitude of a tensor, found by the kernel that writes it. As bits (magnitude_bits),
// so that its order does not matter and NaN wins.

namespace lacuna {

/// Where it goes; null where it is not wanted.
using Amax = std::uint32_t*;

/// x = the bits of the largest of n magnitudes and x.
template <class T, int n>
__device__ __forceinline__ void note_magnitudes(std::uint32_t& x, const Pack<T, n>& pack) {
  for (int j = 0; j < n; ++j) {
    const std::uint32_t bits = magnitude_bits(widen(pack.v[j]));
    x = bits > x ? bits : x;
  }
}
/// Of all threads of a one-dimensional block, all of which call.
__device__ __forceinline__ void store_amax(Amax amax, std::uint32_t x) {
  if (!amax) return;
  x = block_max(x);
  // Most blocks come when larger ones have been; what this reads may be old, and is then smaller.
  if (threadIdx.x == 0 && x > *static_cast<const volatile std::uint32_t*>(amax))
    atomic_max(amax, x);
}

/// Sets `amax`, f32 [1], to 0, for kernels that are launched after this; null for Tensor().
Amax begin_amax(const char* op, CUstream_st* stream, const Tensor& amax);

}  // namespace lacuna
