#include <algorithm>

#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"

namespace lacuna {

void CpuOps::rmsnorm_forward(Tensor y, Tensor rstd, Tensor x, Tensor w, float eps) {
  const auto [rows, cols] =
      check_rmsnorm_forward(Checks("rmsnorm_forward", Place::host), y, rstd, x, w);
  auto* to = y.as<float>();
  const auto* from = x.as<float>();
  pool_.for_ranges(rows, row_grain(cols), [&, n = cols](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row)
      rstd.as<float>()[row] = simd_.rmsnorm(to + row * n, from + row * n, w.as<float>(), eps, n);
  });
}

void CpuOps::add_rmsnorm_forward(Tensor sum, Tensor y, Tensor rstd, Tensor x, Tensor delta,
                                 Tensor w, float eps) {
  const auto [rows, cols] = check_add_rmsnorm_forward(Checks("add_rmsnorm_forward", Place::host),
                                                      sum, y, rstd, x, delta, w);
  pool_.for_ranges(rows, row_grain(cols), [&, n = cols](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin, at = begin * n; row < end; ++row, at += n)
      rstd.as<float>()[row] =
          simd_.add_rmsnorm(sum.as<float>() + at, y.as<float>() + at, x.as<float>() + at,
                            delta.as<float>() + at, w.as<float>(), eps, n);
  });
}

// dw is summed over blocks of rows, blocks over a thread's rows, threads in their order: the error
// grows with the lengths of these three sums, not with their product.
void CpuOps::rmsnorm_backward(Tensor dx, Tensor dw, Tensor dy, Tensor x, Tensor rstd, Tensor w,
                              GradMode mode) {
  const auto [rows, cols] =
      check_rmsnorm_backward(Checks("rmsnorm_backward", Place::host), dx, dw, dy, x, rstd, w);
  constexpr std::int64_t kBlock = 64;
  const std::int64_t n = cols, all = rows;
  const std::int64_t parts = std::clamp<std::int64_t>(rows / row_grain(cols), 1, pool_.size());
  const auto room = std::size_t(2 * n);
  const auto part = [&](int i) {
    if (i >= parts) return;
    float* total = scratch(i, room);
    float* block = total + n;
    std::fill(total, total + n, 0.0f);
    const std::int64_t begin = all * i / parts, end = all * (i + 1) / parts;
    for (std::int64_t row = begin; row < end;) {
      std::fill(block, block + n, 0.0f);
      for (const std::int64_t stop = std::min(end, row + kBlock); row < stop; ++row)
        simd_.rmsnorm_backward(dx.as<float>() + row * n, block, dy.as<float>() + row * n,
                               x.as<float>() + row * n, w.as<float>(), rstd.as<float>()[row],
                               mode == GradMode::accumulate, n);
      simd_.add(total, block, n);
    }
  };
  if (parts == 1)
    part(0);
  else
    pool_.run(part);
  for (int i = 0; i < parts; ++i) simd_.add(dw.as<float>(), scratch(i, room), n);
}

}  // namespace lacuna
