#pragma once
#include "kernels/platform/intrinsics.h"

// Rows of logits, whose ends and alignment may be any.

namespace lacuna {

/// The columns [c, c + n) of a row, those at `cols` and behind it as -inf. Packed: by one access,
/// unless the row ends within them.
template <int n, bool packed, class T>
__device__ __forceinline__ Pack<float, n> load_columns(const T* x, int c, int cols) {
  Pack<float, n> out;
  if (packed && c + n <= cols) {
    const auto pack = load_pack<n>(x + c);
    for (int j = 0; j < n; ++j) out.v[j] = widen(pack.v[j]);
  } else {
    for (int j = 0; j < n; ++j) out.v[j] = c + j < cols ? widen(x[c + j]) : -INFINITY;
  }
  return out;
}

}  // namespace lacuna
