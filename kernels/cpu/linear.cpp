#include "kernels/checks.h"
#include "kernels/cpu/blas.h"
#include "kernels/cpu/cpu_ops.h"

namespace lacuna {
namespace {

float beta(GradMode mode) { return mode == GradMode::accumulate ? 1.0f : 0.0f; }

}  // namespace

void CpuOps::linear_forward(Tensor y, Tensor x, Matrix w, GradMode mode) {
  check_linear(Checks("linear_forward", Place::host), "y", y, "x", x, "w", w, Written::y);
  sgemm(pool_, false, true, y.rows(), y.cols(), x.cols(), 1.0f, x.as<float>(), x.stride,
        w.as<float>(), w.cols(), beta(mode), y.as<float>(), y.stride);
}

void CpuOps::linear_backward_input(Tensor dx, Tensor dy, Matrix w, GradMode mode) {
  check_linear(Checks("linear_backward_input", Place::host), "dy", dy, "dx", dx, "w", w,
               Written::x);
  sgemm(pool_, false, false, dx.rows(), dx.cols(), dy.cols(), 1.0f, dy.as<float>(), dy.stride,
        w.as<float>(), w.cols(), beta(mode), dx.as<float>(), dx.stride);
}

void CpuOps::linear_backward_weight(Tensor dw, Tensor dy, Tensor x) {
  check_linear(Checks("linear_backward_weight", Place::host), "dy", dy, "x", x, "dw", dw,
               Written::w);
  sgemm(pool_, true, false, dw.shape[0], dw.shape[1], x.rows(), 1.0f, dy.as<float>(), dy.stride,
        x.as<float>(), x.stride, 1.0f, dw.as<float>(), dw.stride);
}

}  // namespace lacuna
