#include "core/block_formats.h"
#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"

namespace lacuna {

void CpuOps::dequantise(Tensor y, Matrix w) {
  check_dequantise(checks("dequantise"), y, w);
  const std::int64_t cols = w.cols();
  pool_.for_ranges(w.rows(), row_grain(cols), [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> row(std::size_t(y.dtype == DType::f32 ? 0 : cols));
    for (std::int64_t r = begin; r < end; ++r) {
      float* const to = y.dtype == DType::f32 ? y.as<float>() + r * cols : row.data();
      lacuna::dequantise(w.format, row_address(w, r), cols, to);
      if (y.dtype != DType::f32) move(row_address(y, r), y.dtype, to, DType::f32, cols);
    }
  });
}

}  // namespace lacuna
