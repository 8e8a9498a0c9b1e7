#include "kernels/cpu/blas.h"
#include "kernels/cpu/cpu_ops.h"

namespace lacuna {
namespace {

/// All f32 on the host: x [N,I], y [N,O] (either may be strided), w [O,I].
void check_linear(const char* op, const Tensor& y, const char* y_name, const Tensor& x,
                  const char* x_name, const Tensor& w, const char* w_name) {
  const auto check_f32 = [&](const Tensor& t, const char* name) {
    CHECK(t.dtype == DType::f32, op, ": ", name, " is ", t, "; it must be f32");
    CHECK(t.place == Place::host, op, ": ", name, " is not in main memory");
  };
  check_f32(y, y_name);
  check_f32(x, x_name);
  check_f32(w, w_name);
  CHECK(w.shape.rank == 2 && w.contiguous(), op, ": ", w_name, " is ", w,
        "; it must be a contiguous matrix [out,in]");
  CHECK(x.cols() == w.shape[1], op, ": ", x_name, " is ", x, " but ", w_name, " is ", w, "; ",
        x_name, " must have ", w.shape[1], " columns");
  CHECK(y.cols() == w.shape[0] && y.rows() == x.rows(), op, ": ", y_name, " is ", y, " but ",
        x_name, " is ", x, " and ", w_name, " is ", w, "; ", y_name, " must be [", x.rows(), ",",
        w.shape[0], "]");
}

float beta(GradMode mode) { return mode == GradMode::accumulate ? 1.0f : 0.0f; }

}  // namespace

void CpuOps::linear_forward(Tensor y, Tensor x, Tensor w, GradMode mode) {
  check_linear("linear_forward", y, "y", x, "x", w, "w");
  sgemm(pool_, false, true, y.rows(), y.cols(), x.cols(), 1.0f, x.as<float>(), x.stride,
        w.as<float>(), w.stride, beta(mode), y.as<float>(), y.stride);
}

void CpuOps::linear_backward_input(Tensor dx, Tensor dy, Tensor w, GradMode mode) {
  check_linear("linear_backward_input", dy, "dy", dx, "dx", w, "w");
  sgemm(pool_, false, false, dx.rows(), dx.cols(), dy.cols(), 1.0f, dy.as<float>(), dy.stride,
        w.as<float>(), w.stride, beta(mode), dx.as<float>(), dx.stride);
}

void CpuOps::linear_backward_weight(Tensor dw, Tensor dy, Tensor x) {
  check_linear("linear_backward_weight", dy, "dy", x, "x", dw, "dw");
  sgemm(pool_, true, false, dw.shape[0], dw.shape[1], x.rows(), 1.0f, dy.as<float>(), dy.stride,
        x.as<float>(), x.stride, 1.0f, dw.as<float>(), dw.stride);
}

}  // namespace lacuna
