#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"

namespace lacuna {
namespace {

/// One block per row. A thread turns n neighbouring pairs (x[j], x[j + half]) of one head at a
/// time.
template <class T, int n>
__global__ void rope_kernel(T* x, std::int64_t stride, const std::int32_t* positions,
                            const float* table, int limit, int heads, int half, float sign) {
  const int position = positions[blockIdx.x];
  const bool known = position >= 0 && position < limit;
  const float* cosines = table + std::int64_t{known ? position : 0} * (2 * half);
  const float* sines = cosines + half;
  T* row = x + std::int64_t{blockIdx.x} * stride;
  const int per_head = half / n;
  for (int i = int(threadIdx.x); i < heads * per_head; i += int(blockDim.x)) {
    const int j = i % per_head * n;
    T* low = row + i / per_head * (2 * half) + j;
    auto a = load_pack<n>(low), b = load_pack<n>(low + half);
    const auto c = load_pack<n>(cosines + j), s = load_pack<n>(sines + j);
    for (int k = 0; k < n; ++k) {
      const float u = known ? widen(a.v[k]) : NAN, v = widen(b.v[k]), sine = sign * s.v[k];
      a.v[k] = narrow<T>(u * c.v[k] - v * sine);
      b.v[k] = narrow<T>(v * c.v[k] + u * sine);
    }
    store_pack<n>(low, a);
    store_pack<n>(low + half, b);
  }
}

}  // namespace

void CudaOps::rope(Tensor x, Tensor positions, Tensor table, Rotation direction) {
  const Checks c = checks("rope");
  const auto [rows, cols] = check_rope(c, x, positions, table);
  const std::int64_t half = table.cols() / 2, heads = cols / table.cols();
  const float sign = direction == Rotation::inverse ? -1.0f : 1.0f;
  visit_float(x.dtype, [&, rows = rows](auto type) {
    using T = typename decltype(type)::type;
    constexpr int wide = kPackOf<T>;
    visit_width<wide>(packs_fit(half, wide, {x, table}), [&](auto width) {
      constexpr int n = decltype(width)::value;
      launch({c.op(), dim3(unsigned(rows)), threads_for(heads * half / n, 256), 0, stream()},
             rope_kernel<T, n>, x.as<T>(), x.stride, positions.as<std::int32_t>(),
             table.as<float>(), int(table.rows()), int(heads), int(half), sign);
    });
  });
}

}  // namespace lacuna
