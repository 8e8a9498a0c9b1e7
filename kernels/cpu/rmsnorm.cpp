#include <algorithm>

#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/float_vector.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

namespace lacuna {

void CpuOps::rmsnorm_forward(Tensor y, Tensor rstd, Tensor x, Tensor w, float eps, Tensor amax) {
  const auto [rows, cols] = check_rmsnorm_forward(checks("rmsnorm_forward"), y, rstd, x, w);
  const FloatVector weights(simd_, w);
  visit_float(x.dtype, [&, rows = rows, n = cols](auto type) {
    using T = typename decltype(type)::type;
    pool_.for_ranges(rows, row_grain(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row)
        rstd.as<float>()[row] = simd_.loops<T>().rmsnorm(y.as<T>() + row * n, x.as<T>() + row * n,
                                                         weights.data(), eps, n);
    });
  });
  if (amax.data) absolute_maximum(amax, y);
}

void CpuOps::add_rmsnorm_forward(Tensor sum, Tensor y, Tensor rstd, Tensor x, Tensor delta,
                                 Tensor w, float eps, Tensor amax) {
  const auto [rows, cols] =
      check_add_rmsnorm_forward(checks("add_rmsnorm_forward"), sum, y, rstd, x, delta, w);
  const FloatVector weights(simd_, w);
  visit_float(x.dtype, [&, rows = rows, n = cols](auto type) {
    using T = typename decltype(type)::type;
    pool_.for_ranges(rows, row_grain(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin, at = begin * n; row < end; ++row, at += n)
        rstd.as<float>()[row] =
            simd_.loops<T>().add_rmsnorm(sum.as<T>() + at, y.as<T>() + at, x.as<T>() + at,
                                         delta.as<T>() + at, weights.data(), eps, n);
    });
  });
  if (amax.data) absolute_maximum(amax, y);
}

// dw is summed over blocks of rows, blocks over a thread's rows, threads in their order: the error
// grows with the lengths of these three sums, not with their product.
void CpuOps::rmsnorm_backward(Tensor dx, Tensor dw, Tensor dy, Tensor x, Tensor rstd, Tensor w,
                              GradMode mode, GradMode weight_mode) {
  const auto [rows, cols] =
      check_rmsnorm_backward(checks("rmsnorm_backward"), dx, dw, dy, x, rstd, w);
  constexpr std::int64_t kBlock = 64;
  const std::int64_t n = cols, all = rows;
  const std::int64_t parts = std::clamp<std::int64_t>(rows / row_grain(cols), 1, pool_.size());
  const auto room = std::size_t(2 * n);
  const FloatVector weights(simd_, w);
  const auto part = [&](int i, auto type) {
    using T = typename decltype(type)::type;
    if (i >= parts) return;
    float* total = scratch(i, room);
    float* block = total + n;
    std::fill(total, total + n, 0.0f);
    const std::int64_t begin = all * i / parts, end = all * (i + 1) / parts;
    for (std::int64_t row = begin; row < end;) {
      std::fill(block, block + n, 0.0f);
      for (const std::int64_t stop = std::min(end, row + kBlock); row < stop; ++row)
        simd_.loops<T>().rmsnorm_backward(dx.as<T>() + row * n, block, dy.as<T>() + row * n,
                                          x.as<T>() + row * n, weights.data(),
                                          rstd.as<float>()[row], mode == GradMode::accumulate, n);
      simd_.f32.add(total, block, n);
    }
  };
  visit_float(x.dtype, [&](auto type) {
    if (parts == 1)
      part(0, type);
    else
      pool_.run([&](int i) { part(i, type); });
  });
  if (!dw.data) return;
  if (weight_mode == GradMode::overwrite) fill(dw, 0);
  if (dw.dtype == DType::f32) {
    for (int i = 0; i < parts; ++i) simd_.f32.add(dw.as<float>(), scratch(i, room), n);
    return;
  }
  // Summed in f32 and rounded once.
  for (int i = 1; i < parts; ++i) simd_.f32.add(scratch(0, room), scratch(i, room), n);
  simd_.bf16.add(dw.as<BFloat16>(), scratch(0, room), n);
}

}  // namespace lacuna
