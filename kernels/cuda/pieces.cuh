#pragma once
#include <cstdint>

#include "kernels/cuda/dispatch.h"

namespace lacuna {

/// For kernels over many tensors, a table of `count` of which says at which block each begins
/// (first_block, increasing, the first 0): the one that this block belongs to.
template <class Piece>
__device__ __forceinline__ Piece piece_of_block(const Piece* pieces, int count) {
  int low = 0, high = count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (pieces[middle].first_block <= std::int64_t{blockIdx.x})
      low = middle;
    else
      high = middle - 1;
  }
  return pieces[low];
}
/// Calls f(Width, i) for this thread's elements [i, i + width) of this block's part of `piece`, in
/// packs of n where `piece` is aligned to them (packed) and has a whole one, else element by
/// element. Blocks of `threads` threads take `turns` packs a thread.
template <int threads, int turns, int n, class Piece, class F>
__device__ __forceinline__ void for_my_packs(const Piece& piece, F&& f) {
  constexpr std::int64_t per_block = std::int64_t{threads} * turns * n;
  const std::int64_t begin = (std::int64_t{blockIdx.x} - piece.first_block) * per_block;
  for (int turn = 0; turn < turns; ++turn) {
    const std::int64_t i = begin + std::int64_t{turn * threads + int(threadIdx.x)} * n;
    if (piece.packed && i + n <= piece.count) {
      f(Width<n>{}, i);
    } else {
      for (std::int64_t j = i; j < piece.count && j < i + n; ++j) f(Width<1>{}, j);
    }
  }
}

}  // namespace lacuna
