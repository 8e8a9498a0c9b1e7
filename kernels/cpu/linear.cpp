#include "kernels/checks.h"
#include "kernels/cpu/blas.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"

namespace lacuna {
namespace {

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
  const std::int64_t depth = x.cols();
  for_blocks(pool_, y.rows(), y.cols(), depth, [&](const Block& at, int thread) {
    const LinearTiles& tiles = simd_.linear;
    LinearPiece p{};
    p.y = y.as<float>() + at.row * y.stride + at.col;
    p.x = x.as<float>() + at.row * x.stride;
    p.w = w.as<float>() + at.col * w.cols();
    p.y_stride = y.stride;
    p.x_stride = x.stride;
    p.w_stride = w.cols();
    p.rows = at.rows;
    p.cols = at.cols;
    p.depth = depth;
    p.accumulate = mode == GradMode::accumulate;
    p.scratch = scratch(thread, std::size_t(tiles.scratch));
    tiles.multiply(p);
  });
}

void CpuOps::linear_backward_input(Tensor dx, Tensor dy, Matrix w, GradMode mode) {
  check_linear(checks("linear_backward_input"), "dy", dy, "dx", dx, "w", w, Written::x);
  if (dy.dtype == DType::bf16) return multiply_bf16(dx, dy, false, w.as_tensor(), false, mode);
  sgemm(pool_, false, false, dx.rows(), dx.cols(), dy.cols(), 1.0f, dy.as<float>(), dy.stride,
        w.as<float>(), w.cols(), beta(mode), dx.as<float>(), dx.stride);
}

void CpuOps::linear_backward_weight(Tensor dw, Tensor dy, Tensor x) {
  check_linear(checks("linear_backward_weight"), "dy", dy, "x", x, "dw", dw, Written::w);
  if (x.dtype == DType::bf16) return multiply_bf16(dw, dy, true, x, false, GradMode::accumulate);
  sgemm(pool_, true, false, dw.shape[0], dw.shape[1], x.rows(), 1.0f, dy.as<float>(), dy.stride,
        x.as<float>(), x.stride, 1.0f, dw.as<float>(), dw.stride);
}

}  // namespace lacuna
