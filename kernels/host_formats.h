#pragma once
#include "core/matrix.h"

namespace lacuna {

/// CpuOps::reads(), for who plans without a backend.
constexpr bool host_reads(MatrixFormat format, DType dtype) {
  return dtype == DType::f32 ||
         (dtype == DType::bf16 && (format == MatrixFormat::bf16 || !info_of(format).is_float));
}

}  // namespace lacuna
