#pragma once
#include <cstdint>

#include "core/matrix.h"

namespace lacuna {

// y = x w^T with w in a format of blocks. Rows of x are rounded to 8 bits in groups of 32, each
// with a scale of its own; sums of a group of weights are exact integers, and are added in f32 in
// the order of the groups. So every instruction set gives the same bits, whatever other rows and
// columns are computed with an element.

/// k that are worked on at a time: a block of a k-quant.
inline constexpr std::int64_t kQuantChunk = 256, kQuantGroup = 32;
inline constexpr std::int64_t kQuantGroups = kQuantChunk / kQuantGroup;
/// Rows of w that are unpacked at a time.
inline constexpr std::int64_t kQuantCols = 32;
/// Most rows of x of one piece.
inline constexpr std::int64_t kQuantRows = 256;

/// Rows of x, chunk after chunk of all rows.
struct QuantisedRows {
  std::uint8_t* q;  // [chunks, rows, 256]: round(x / scale) + 128
  float* scale;     // [chunks, rows, 8]: max |x| / 127 of a group; NaN where x is not finite
  float* sum;       // [chunks, rows, 8]: scale times the sum of round(x / scale)
  std::int64_t rows;
  int offset;  // quantised_offset() of the weights' format

  std::int64_t at(std::int64_t chunk, std::int64_t row) const { return chunk * rows + row; }
};

/// One factor of the instructions is unsigned: weights that are so in their format, else x, which
/// has 128 added.
constexpr int quantised_offset(MatrixFormat format) {
  return format == MatrixFormat::q4_k || format == MatrixFormat::q5_k ? 0 : 128;
}

/// Some columns of y, for one thread.
struct QuantisedPiece {
  float* y;  // the first row's
  std::int64_t y_stride;
  QuantisedRows x;
  std::int64_t row, rows;  // of x; at most kQuantRows
  MatrixFormat format;
  const char* w;  // `cols` rows, at most kQuantCols
  std::int64_t row_bytes;
  std::int64_t cols, depth;  // depth: a multiple of 32
  bool accumulate;
  float* scratch;  // kQuantScratch floats
};

/// Of weights and sums for one piece.
inline constexpr std::int64_t kQuantScratch = 16384;

struct QuantisedKernels {
  const char* name;  // "portable", "avx2", "avx_vnni", "avx512_vnni"
  /// One row of `depth` elements.
  void (*quantise_row)(const QuantisedRows& to, std::int64_t row, const float* x,
                       std::int64_t depth);
  void (*multiply)(const QuantisedPiece& piece);
  /// bf16 or f16 elements to f32.
  void (*widen)(MatrixFormat format, const void* from, std::int64_t n, float* to);
};

/// The fastest for this processor; those of AVX2 where LACUNA_ISA says avx2 (kernels/cpu/simd.h).
const QuantisedKernels& quantised_kernels();
/// By name; nullptr when this processor or build lacks it.
const QuantisedKernels* find_quantised_kernels(const char* name);

}  // namespace lacuna
