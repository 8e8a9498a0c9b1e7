#pragma once
#include <cstdint>

namespace lacuna {

/// y (+)= x w^T for one thread: y [rows,cols], x [rows,depth], w [cols,depth], rows so many
/// elements apart.
struct LinearPiece {
  float* y;
  const float *x, *w;
  std::int64_t y_stride, x_stride, w_stride;
  std::int64_t rows, cols, depth;
  bool accumulate;
  float* scratch;  // LinearTiles::scratch floats
};

/// The functions of linear_tiles.inc, compiled once per instruction set. Every element of y is
/// summed in the same order, whatever its place and the numbers of rows and columns: a row's result
/// does not depend on what is computed beside it.
struct LinearTiles {
  std::int64_t scratch;  // floats that a piece needs
  void (*multiply)(const LinearPiece& piece);
};

}  // namespace lacuna
