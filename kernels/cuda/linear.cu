#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"

namespace lacuna {
namespace {

void multiply(GemmRunner& products, const Checks& c, const Tensor& result, GradMode mode,
              const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b) {
  Gemm p{};
  p.transpose_a = transpose_a;
  p.transpose_b = transpose_b;
  p.m = result.rows();
  p.n = result.cols();
  p.k = transpose_a ? a.rows() : a.cols();
  p.a = a.data;
  p.lda = a.stride;
  p.b = b.data;
  p.ldb = b.stride;
  p.c = result.data;
  p.ldc = result.stride;
  p.factors = a.dtype;
  p.result = result.dtype;
  p.accumulate = mode == GradMode::accumulate;
  // Tensors without columns have no rows either (Tensor::rows), so a sum over nothing is one over
  // no rows, in linear_backward_weight, where it adds.
  if (p.m > 0 && p.n > 0 && p.k > 0) products.multiply(c.op(), p);
}

}  // namespace

void CudaOps::linear_forward(Tensor y, Tensor x, Matrix w, GradMode mode) {
  const Checks c = checks("linear_forward");
  check_linear(c, "y", y, "x", x, "w", w, Written::y);
  multiply(gemms_, c, y, mode, x, false, w.as_tensor(), true);
}

void CudaOps::linear_backward_input(Tensor dx, Tensor dy, Matrix w, GradMode mode) {
  const Checks c = checks("linear_backward_input");
  check_linear(c, "dy", dy, "dx", dx, "w", w, Written::x);
  multiply(gemms_, c, dx, mode, dy, false, w.as_tensor(), false);
}

void CudaOps::linear_backward_weight(Tensor dw, Tensor dy, Tensor x, GradMode mode) {
  const Checks c = checks("linear_backward_weight");
  check_linear(c, "dy", dy, "x", x, "dw", dw, Written::w);
  if (mode == GradMode::overwrite && x.rows() == 0) return fill(dw, 0);
  multiply(gemms_, c, dw, mode, dy, true, x, false);
}

}  // namespace lacuna
