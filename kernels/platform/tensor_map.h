#pragma once
#include <cstdint>

#include "core/half.h"

namespace lacuna {

/// Rows of bf16 in global memory, from which boxes of 64 columns and `rows` rows are copied. Made
/// by tensor_map(); what is in it is the TMA unit's business.
struct alignas(64) TensorMap {
  unsigned char bytes[128];
};
constexpr int kBoxColumns = 64, kBoxRowBytes = 128;

/// `stride` in elements, a multiple of 8; `data` aligned to 16. Rows and columns beyond the end
/// read as zeros. Throws Error naming `op`. kernels/platform/gpu/tensor_map.cpp and
/// kernels/platform/emulated/hopper.cpp.
TensorMap tensor_map(const char* op, const BFloat16* data, std::int64_t rows, std::int64_t columns,
                     std::int64_t stride, int box_rows);

}  // namespace lacuna
