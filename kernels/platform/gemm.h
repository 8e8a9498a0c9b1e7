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
