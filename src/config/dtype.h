#pragma once
#include "config/config.h"
#include "core/tensor.h"

namespace lacuna {

/// compute.dtype as that of tensors.
constexpr DType type_of(Precision precision) {
  return precision == Precision::bf16 ? DType::bf16 : DType::f32;
}

}  // namespace lacuna
