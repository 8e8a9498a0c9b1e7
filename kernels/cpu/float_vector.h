#pragma once
#include <vector>

#include "kernels/cpu/simd.h"

namespace lacuna {

/// The elements of a contiguous float tensor in f32: where they lie, or a copy of bf16.
class FloatVector {
 public:
  FloatVector(const SimdKernels& simd, const Tensor& t) {
    if (t.dtype == DType::f32) {
      data_ = t.as<float>();
      return;
    }
    copy_.resize(std::size_t(t.count()));
    simd.bf16.widen(copy_.data(), t.as<BFloat16>(), t.count());
    data_ = copy_.data();
  }
  const float* data() const { return data_; }

 private:
  std::vector<float> copy_;
  const float* data_;
};

}  // namespace lacuna
