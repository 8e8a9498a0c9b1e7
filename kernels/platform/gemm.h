#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "kernels/platform/device.h"

namespace lacuna {

/// c = op(a) op(b), or c += …, all row-major: op(a) is [m,k], op(b) [k,n], c [m,n], op(x) = x or
/// its transpose; lda, ldb, ldc are the distances between stored rows. a and b are both f32 or both
/// bf16, c is of the same type or f32. Sums are f32 (no TF32), also where they are split among
/// blocks.
///
/// Or of FP8: `factors` is a's type, e4m3 or e5m2, b is e4m3, c bf16 or f32; b alone is transposed,
/// k, lda and ldb are multiples of 16 and so are the addresses. a and b are multiplied by *a_factor
/// and *b_factor, which are on the device. Sums of two e4m3 matrices may keep fewer bits (fast
/// accumulation).
struct Gemm {
  bool transpose_a, transpose_b;
  std::int64_t m, n, k;
  const void* a;
  std::int64_t lda;
  const void* b;
  std::int64_t ldb;
  void* c;
  std::int64_t ldc;
  DType factors, result;
  bool accumulate;
  const float *a_factor = nullptr, *b_factor = nullptr;  // of FP8

  DType b_type() const { return factors == DType::e5m2 ? DType::e4m3 : factors; }
};

/// GEMMs on a device's stream. Implemented twice: kernels/platform/gpu/gemm.cpp asks
/// cuBLASLt and keeps its descriptors and the algorithm chosen for each shape
/// (kernels/platform/gemm_table.h); kernels/platform/emulated/gemm.cpp asks the CPU's BLAS.
class GemmRunner {
 public:
  /// `time_algorithms`: DeviceOptions::tune_gemms.
  GemmRunner(Device& device, bool time_algorithms);
  ~GemmRunner();
  GemmRunner(const GemmRunner&) = delete;
  GemmRunner& operator=(const GemmRunner&) = delete;

  /// m, n and k of at least 1.
  void multiply(const char* op, const Gemm& product);

  /// Ops::tune_gemms, gemm_algorithms and use_gemm_algorithms.
  void tune(const std::function<void()>& work);
  std::string algorithms() const;
  void use_algorithms(const std::string& text);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lacuna
