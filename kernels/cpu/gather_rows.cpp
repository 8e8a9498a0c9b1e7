#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

namespace lacuna {

void CpuOps::gather_rows(Tensor y, Tensor x, Tensor rows) {
  const Checks c = checks("gather_rows");
  const auto [count, cols] = check_gather_rows(c, "y", y, "x", x, rows);
  check_indices(c.op(), "rows", rows, x.rows());
  const auto* from = rows.as<std::int32_t>();
  pool_.for_ranges(count, row_grain(cols), [&, n = cols](std::int64_t begin, std::int64_t end) {
    for (std::int64_t m = begin; m < end; ++m)
      move(row_address(y, m), y.dtype, row_address(x, from[m]), x.dtype, n);
  });
}

void CpuOps::scatter_add_rows(Tensor x, Tensor y, Tensor rows) {
  const Checks c = checks("scatter_add_rows");
  const auto [count, cols] = check_gather_rows(c, "y", y, "x", x, rows);
  check_distinct_rows(c.op(), rows, x.rows());
  const auto* to = rows.as<std::int32_t>();
  visit_float(x.dtype, [&, count = count, n = cols](auto type) {
    using T = typename decltype(type)::type;
    pool_.for_ranges(count, row_grain(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t m = begin; m < end; ++m)
        simd_.loops<T>().add(x.as<T>() + to[m] * x.stride, y.as<T>() + m * n, n);
    });
  });
}

void CpuOps::scatter_rows(Tensor x, Tensor y, Tensor rows) {
  const Checks c = checks("scatter_rows");
  const auto [count, cols] = check_scatter_rows(c, x, y, rows);
  check_distinct_rows(c.op(), rows, x.rows());
  const auto* to = rows.as<std::int32_t>();
  pool_.for_ranges(count, row_grain(cols), [&, n = cols](std::int64_t begin, std::int64_t end) {
    for (std::int64_t m = begin; m < end; ++m)
      move(row_address(x, to[m]), x.dtype, row_address(y, m), y.dtype, n);
  });
}

}  // namespace lacuna
