#pragma once
#include <cstdint>

#include "core/tensor.h"

namespace lacuna {

/// One thread's block of a product of bf16 matrices, c (+)= a b with sums in f32: a [rows,depth],
/// b [depth,cols], c [rows,cols]. Strides are elements between stored rows.
struct Bf16Piece {
  float* f32;      // c, or null
  BFloat16* bf16;  // c, or null
  const BFloat16 *a, *b;
  std::int64_t c_stride, a_stride, b_stride;
  bool a_transposed, b_transposed;  // stored as [depth,rows], as [cols,depth]
  std::int64_t rows, cols, depth;
  bool accumulate;
  float* scratch;  // LinearBf16::scratch() floats, from a whole cache line on
};

/// The functions of linear_bf16.inc, compiled once per instruction set. Every element of c is
/// summed in the same order, whatever its place and the numbers of rows and columns: a row's result
/// does not depend on what is computed beside it.
struct LinearBf16 {
  std::int64_t (*scratch)(const Bf16Piece& piece);
  void (*multiply)(const Bf16Piece& piece);
};

}  // namespace lacuna
