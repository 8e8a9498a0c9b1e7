#include "kernels/platform/emulated/host_gemm.h"

#include <vector>

#include "core/fp8.h"
#include "core/half.h"
#include "kernels/cpu/blas.h"
#include "kernels/platform/emulated/device_memory.h"

namespace lacuna::emulator {
namespace {

float element(const void* data, DType type, std::int64_t at) {
  switch (type) {
    case DType::bf16:
      return to_float(static_cast<const BFloat16*>(data)[at]);
    case DType::e4m3:
      return to_float(static_cast<const E4M3*>(data)[at]);
    case DType::e5m2:
      return to_float(static_cast<const E5M2*>(data)[at]);
    default:
      return static_cast<const float*>(data)[at];
  }
}

/// Rows of `cols` elements as f32 without gaps.
std::vector<float> widened(const void* data, DType type, std::int64_t rows, std::int64_t cols,
                           std::int64_t stride) {
  std::vector<float> wide(std::size_t(rows * cols));
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t col = 0; col < cols; ++col)
      wide[std::size_t(row * cols + col)] = element(data, type, row * stride + col);
  return wide;
}

void narrowed(void* data, DType type, std::int64_t rows, std::int64_t cols, std::int64_t stride,
              const std::vector<float>& wide) {
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t col = 0; col < cols; ++col) {
      const float value = wide[std::size_t(row * cols + col)];
      const std::int64_t at = row * stride + col;
      if (type == DType::bf16)
        static_cast<BFloat16*>(data)[at] = to_bf16(value);
      else
        static_cast<float*>(data)[at] = value;
    }
}

}  // namespace

void multiply(ThreadPool& pool, const Gemm& p, float alpha, const void* addend, float beta) {
  const DeviceAccess access;
  const std::int64_t a_rows = p.transpose_a ? p.k : p.m, a_cols = p.transpose_a ? p.m : p.k;
  const std::int64_t b_rows = p.transpose_b ? p.n : p.k, b_cols = p.transpose_b ? p.k : p.n;
  const std::vector<float> a = widened(p.a, p.factors, a_rows, a_cols, p.lda);
  const std::vector<float> b = widened(p.b, p.b_type(), b_rows, b_cols, p.ldb);
  if (p.a_factor) alpha *= *p.a_factor * *p.b_factor;
  std::vector<float> c(std::size_t(p.m * p.n));
  if (beta != 0) c = widened(addend, p.result, p.m, p.n, p.ldc);
  sgemm(pool, p.transpose_a, p.transpose_b, p.m, p.n, p.k, alpha, a.data(), a_cols, b.data(),
        b_cols, beta, c.data(), p.n);
  narrowed(p.c, p.result, p.m, p.n, p.ldc, c);
}

}  // namespace lacuna::emulator
