#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

namespace lacuna {

void CpuOps::rope(Tensor x, Tensor positions, Tensor table, Rotation direction) {
  const auto [rows, cols] = check_rope(checks("rope"), x, positions, table);
  check_indices("rope", "positions", positions, table.rows());
  const std::int64_t width = table.cols(), heads = cols / width;
  const float sign = direction == Rotation::inverse ? -1.0f : 1.0f;
  visit_float(x.dtype, [&, rows = rows, n = cols](auto type) {
    using T = typename decltype(type)::type;
    pool_.for_ranges(rows, row_grain(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const float* angles = table.as<float>() + positions.as<std::int32_t>()[row] * width;
        simd_.loops<T>().rope(x.as<T>() + row * x.stride, angles, angles + width / 2, sign, heads,
                              width / 2);
      }
    });
  });
}

}  // namespace lacuna
