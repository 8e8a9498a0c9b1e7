#include "kernels/cpu/linear_bf16.h"

#include "kernels/cpu/blas.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"

namespace lacuna {

void CpuOps::multiply_bf16(const Tensor& c, const Tensor& a, bool a_transposed, const Tensor& b,
                           bool b_transposed, GradMode mode) {
  if (c.count() == 0) return;
  const std::int64_t depth = a_transposed ? a.rows() : a.cols();
  const auto task = [&](const Block& at, int thread) {
    const LinearBf16& product = simd_.linear_bf16;
    Bf16Piece p{};
    const std::int64_t first = at.row * c.stride + at.col;
    if (c.dtype == DType::f32)
      p.f32 = c.as<float>() + first;
    else
      p.bf16 = c.as<BFloat16>() + first;
    p.a = a.as<BFloat16>() + (a_transposed ? at.row : at.row * a.stride);
    p.b = b.as<BFloat16>() + (b_transposed ? at.col * b.stride : at.col);
    p.c_stride = c.stride;
    p.a_stride = a.stride;
    p.b_stride = b.stride;
    p.a_transposed = a_transposed;
    p.b_transposed = b_transposed;
    p.rows = at.rows;
    p.cols = at.cols;
    p.depth = depth;
    p.accumulate = mode == GradMode::accumulate;
    p.scratch = scratch(thread, std::size_t(product.scratch(p)));
    product.multiply(p);
  };
  if (b_transposed)
    for_blocks_by_reading(pool_, c.rows(), c.cols(), depth, sizeof(BFloat16), task);
  else
    for_blocks(pool_, c.rows(), c.cols(), depth, task);
}

}  // namespace lacuna
