#include <type_traits>

#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/reduce_parts.h"

namespace lacuna {
namespace {

constexpr int kThreads = 256;

template <class T>
__device__ __forceinline__ auto wide(T x) {
  if constexpr (std::is_same_v<T, double>)
    return x;
  else
    return widen(x);
}
template <class T, class Sum>
__device__ __forceinline__ T narrowed(Sum x) {
  if constexpr (std::is_same_v<T, double>)
    return x;
  else
    return narrow<T>(x);
}

template <class T, int n>
__global__ void reduce_parts_kernel(T* out, const T* own, const T* parts, std::int64_t stride,
                                    std::int64_t count, int ranks, int rank, Reduce operation) {
  using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
  for_my_pack<n>(count, [&](auto width, std::int64_t i) {
    constexpr int kWidth = decltype(width)::value;
    Sum sum[kWidth] = {};
    for (int r = 0; r < ranks; ++r) {
      const auto x = load_pack<kWidth>((r == rank ? own : parts + r * stride) + i);
      for (int j = 0; j < kWidth; ++j) {
        const Sum value = wide(x.v[j]);
        if (r == 0)
          sum[j] = value;
        else if (operation != Reduce::max)
          sum[j] += value;
        else if (!(sum[j] >= value || sum[j] != sum[j]))  // NaN stays
          sum[j] = value;
      }
    }
    Pack<T, kWidth> result;
    for (int j = 0; j < kWidth; ++j)
      result.v[j] = narrowed<T>(operation == Reduce::mean ? sum[j] / Sum(ranks) : sum[j]);
    store_pack<kWidth>(out + i, result);
  });
}

template <class F>
void visit_type(DType dtype, F&& f) {
  if (dtype == DType::f32) return f(Type<float>{});
  if (dtype == DType::f64) return f(Type<double>{});
  if (dtype == DType::bf16) return f(Type<BFloat16>{});
  if (dtype == DType::f16) return f(Type<Float16>{});
  fail(str("reduce_parts: tensors of ", dtype, " must be of a float type"));
}

}  // namespace

void reduce_parts(Tensor out, Tensor own, Tensor parts, int rank, Reduce operation,
                  CUstream_st* stream) {
  const std::int64_t count = own.count(), ranks = parts.rows();
  CHECK(out.count() == count && parts.cols() == count && rank >= 0 && rank < ranks,
        "reduce_parts: out ", out, ", own ", own, " and parts ", parts, " do not fit for rank ",
        rank);
  CHECK(out.dtype == own.dtype && parts.dtype == own.dtype, "reduce_parts: out ", out, ", own ",
        own, " and parts ", parts, " must be of one type");
  visit_type(own.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    constexpr int wide_pack = kPackOf<T>;
    const bool fits =
        parts.stride % wide_pack == 0 && aligned_to_packs(wide_pack, {out, own, parts});
    visit_width<wide_pack>(fits, [&](auto width) {
      constexpr int n = decltype(width)::value;
      launch({"reduce_parts", blocks_for_vector(count, kThreads, n), kThreads, 0, stream},
             reduce_parts_kernel<T, n>, out.as<T>(), own.as<T>(), parts.as<T>(), parts.stride,
             count, int(ranks), rank, operation);
    });
  });
}

}  // namespace lacuna
