#pragma once
#include <cstdint>
#include <initializer_list>

#include "kernels/checks.h"
#include "kernels/float_types.h"
#include "kernels/platform/intrinsics.h"

// From the run-time types and addresses of tensors to the kernel compiled for them.

namespace lacuna {

template <int n>
struct Width {
  static constexpr int value = n;
};

/// Whether rows of n elements can be moved in packs of `pack` of them: every row's address is a
/// multiple of the pack's size, and the row ends with a whole pack.
inline bool packs_fit(std::int64_t n, int pack, std::initializer_list<Tensor> tensors) {
  if (n % pack) return false;
  for (const Tensor& t : tensors) {
    const std::int64_t bytes = pack * size_of(t.dtype);
    if (reinterpret_cast<std::uintptr_t>(t.data) % std::uintptr_t(bytes)) return false;
    if (!t.contiguous() && t.stride * size_of(t.dtype) % bytes) return false;
  }
  return true;
}
/// Whether every row begins at a multiple of a pack's size, wherever it ends.
inline bool rows_aligned_to_packs(int pack, const Tensor& t) {
  const std::int64_t bytes = pack * size_of(t.dtype);
  return reinterpret_cast<std::uintptr_t>(t.data) % std::uintptr_t(bytes) == 0 &&
         t.stride * size_of(t.dtype) % bytes == 0;
}
/// The same for contiguous tensors seen as one vector, whose end may be less than a pack.
inline bool aligned_to_packs(int pack, std::initializer_list<Tensor> tensors) {
  return packs_fit(0, pack, tensors);
}

/// f(Width<wide>{}) if `fits`, else f(Width<1>{}).
template <int wide, class F>
void visit_width(bool fits, F&& f) {
  if (fits)
    f(Width<wide>{});
  else
    f(Width<1>{});
}

constexpr std::int64_t divided_up(std::int64_t n, std::int64_t by) { return (n + by - 1) / by; }

/// Threads for a block that has n pieces of work: a multiple of 32, at most `most`.
constexpr unsigned threads_for(std::int64_t n, unsigned most) {
  const std::int64_t threads = divided_up(n, 32) * 32;
  return threads < 32 ? 32 : threads > most ? most : unsigned(threads);
}

/// For kernels over a vector: calls f(Width, i) for this thread's piece [i, i + width) of
/// [0, count), in one pack or, at the end, element by element. The grid covers the vector once:
/// blocks_for_vector.
template <int n, class F>
__device__ __forceinline__ void for_my_pack(std::int64_t count, F&& f) {
  const std::int64_t begin = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * n;
  if (begin + n <= count) {
    f(Width<n>{}, begin);
  } else {
    for (std::int64_t i = begin; i < count; ++i) f(Width<1>{}, i);
  }
}
inline dim3 blocks_for_vector(std::int64_t count, int threads, int pack) {
  return dim3(unsigned(divided_up(count, std::int64_t{threads} * pack)));
}

}  // namespace lacuna
