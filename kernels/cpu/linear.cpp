#include <algorithm>

#include "kernels/checks.h"
#include "kernels/cpu/blas.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/quantised_product.h"
#include "kernels/cpu/simd.h"

namespace lacuna {
namespace {

// Floats of widened weights that stay in the second-level cache, or, where few rows read each of
// them once, mostly in the first; columns that are worth a product.
constexpr std::int64_t kWidened = 65536, kWidenedForFew = 8192, kLeastCols = 8;

/// All of it but for the weights and the scratch memory.
LinearPiece piece_of(const Tensor& y, const Tensor& x, const Block& at, GradMode mode) {
  LinearPiece p{};
  p.y = y.as<float>() + at.row * y.stride + at.col;
  p.x = x.as<float>() + at.row * x.stride;
  p.y_stride = y.stride;
  p.x_stride = x.stride;
  p.rows = at.rows;
  p.cols = at.cols;
  p.depth = x.cols();
  p.accumulate = mode == GradMode::accumulate;
  return p;
}

float beta(GradMode mode) { return mode == GradMode::accumulate ? 1.0f : 0.0f; }

}  // namespace

// Not by OpenBLAS, whose sums differ with the number of rows (its kernels for small products, and
// for the rows that are left over, sum in another order) and which copies all weights for few rows.
void CpuOps::linear_forward(Tensor y, Tensor x, Matrix w, GradMode mode) {
  const Checks c = checks("linear_forward");
  if (w.is_float() && (w.format == MatrixFormat::f32 || x.dtype == DType::bf16))
    check_linear(c, "y", y, "x", x, "w", w, Written::y);
  else
    check_stored_linear(c, y, x, w);
  if (y.count() == 0) return;
  if (!w.is_float()) return multiply_quantised(y, x, w, mode);
  if (x.dtype == DType::bf16) return multiply_bf16(y, x, false, w.as_tensor(), true, mode);
  if (w.format != MatrixFormat::f32) return multiply_widened(y, x, w, mode);
  const auto task = [&](const Block& at, int thread) {
    const LinearTiles& tiles = simd_.linear;
    LinearPiece p = piece_of(y, x, at, mode);
    p.w = w.as<float>() + at.col * w.cols();
    p.w_stride = w.cols();
    p.scratch = scratch(thread, std::size_t(tiles.scratch));
    tiles.multiply(p);
  };
  for_blocks_by_reading(pool_, y.rows(), y.cols(), x.cols(), sizeof(float), task);
}

// The sums are those of weights in f32, bit for bit.
void CpuOps::multiply_widened(const Tensor& y, const Tensor& x, const Matrix& w, GradMode mode) {
  const std::int64_t depth = x.cols(), floats = x.rows() <= kFewRows ? kWidenedForFew : kWidened;
  const std::int64_t most =
      std::max(kLeastCols, floats / std::max<std::int64_t>(1, depth) / kLeastCols * kLeastCols);
  const auto task = [&](const Block& at, int thread) {
    const LinearTiles& tiles = simd_.linear;
    float* const memory = scratch(thread, std::size_t(most * depth + tiles.scratch));
    for (std::int64_t col = 0; col < at.cols; col += most) {
      LinearPiece p =
          piece_of(y, x, {at.row, at.rows, at.col + col, std::min(most, at.cols - col)}, mode);
      for (std::int64_t i = 0; i < p.cols; ++i)
        quantised_.widen(w.format, row_address(w, at.col + col + i), depth, memory + i * depth);
      p.w = memory;
      p.w_stride = depth;
      p.scratch = memory + most * depth;
      tiles.multiply(p);
    }
  };
  for_blocks_by_reading(pool_, y.rows(), y.cols(), depth, sizeof(std::uint16_t), task);
}

void CpuOps::linear_backward_input(Tensor dx, Tensor dy, Matrix w, GradMode mode) {
  check_linear(checks("linear_backward_input"), "dy", dy, "dx", dx, "w", w, Written::x);
  if (dy.dtype == DType::bf16) return multiply_bf16(dx, dy, false, w.as_tensor(), false, mode);
  sgemm(pool_, false, false, dx.rows(), dx.cols(), dy.cols(), 1.0f, dy.as<float>(), dy.stride,
        w.as<float>(), w.cols(), beta(mode), dx.as<float>(), dx.stride);
}

void CpuOps::linear_backward_weight(Tensor dw, Tensor dy, Tensor x, GradMode mode) {
  check_linear(checks("linear_backward_weight"), "dy", dy, "x", x, "dw", dw, Written::w);
  if (x.dtype == DType::bf16) return multiply_bf16(dw, dy, true, x, false, mode);
  sgemm(pool_, true, false, dw.shape[0], dw.shape[1], x.rows(), 1.0f, dy.as<float>(), dy.stride,
        x.as<float>(), x.stride, beta(mode), dw.as<float>(), dw.stride);
}

}  // namespace lacuna
