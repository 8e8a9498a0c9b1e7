#pragma once
#include <cstdint>

#include "kernels/platform/intrinsics.h"

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

}  // namespace lacuna
