#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"

namespace lacuna {

void CpuOps::rope(Tensor x, Tensor positions, Tensor table, Rotation direction) {
  const auto [rows, cols] = check_rope(Checks("rope", Place::host), x, positions, table);
  check_indices("rope", "positions", positions, table.rows());
  const std::int64_t width = table.cols(), heads = cols / width;
  const float sign = direction == Rotation::inverse ? -1.0f : 1.0f;
  pool_.for_ranges(rows, row_grain(cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* angles = table.as<float>() + positions.as<std::int32_t>()[row] * width;
      simd_.rope(x.as<float>() + row * x.stride, angles, angles + width / 2, sign, heads,
                 width / 2);
    }
  });
}

}  // namespace lacuna
