#include <algorithm>

#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/quantised_product.h"

namespace lacuna {
namespace {

// Rows of x that are rounded at a time, which bounds the memory for them.
constexpr std::int64_t kRoundedRows = 4 * kQuantRows;

std::int64_t pieces(std::int64_t n, std::int64_t size) { return (n + size - 1) / size; }

/// Views of `memory`, which is made large enough.
QuantisedRows place_rows(std::vector<float>& memory, std::int64_t rows, std::int64_t depth,
                         MatrixFormat weights) {
  const std::int64_t n = rows * pieces(depth, kQuantChunk), q_floats = n * kQuantChunk / 4;
  const auto floats = std::size_t(q_floats + 2 * n * kQuantGroups);
  if (memory.size() < floats) memory.resize(floats);
  float* const scale = memory.data() + q_floats;
  return {reinterpret_cast<std::uint8_t*>(memory.data()), scale, scale + n * kQuantGroups, rows,
          quantised_offset(weights)};
}

}  // namespace

void CpuOps::multiply_quantised(const Tensor& y, const Tensor& x, const Matrix& w, GradMode mode) {
  const std::int64_t depth = x.cols(), col_pieces = pieces(y.cols(), kQuantCols);
  for (std::int64_t first = 0; first < x.rows(); first += kRoundedRows) {
    const std::int64_t rows = std::min(kRoundedRows, x.rows() - first);
    const QuantisedRows rounded = place_rows(rounded_rows_, rows, depth, w.format);
    pool_.for_ranges(rows, row_grain(depth), [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> wide(std::size_t(x.dtype == DType::f32 ? 0 : depth));
      for (std::int64_t row = begin; row < end; ++row) {
        const void* from = row_address(x, first + row);
        if (!wide.empty()) move(wide.data(), DType::f32, from, x.dtype, depth);
        quantised_.quantise_row(
            rounded, row, wide.empty() ? static_cast<const float*>(from) : wide.data(), depth);
      }
    });
    pool_.for_each(col_pieces * pieces(rows, kQuantRows), [&](std::int64_t i, int thread) {
      const std::int64_t col = i % col_pieces * kQuantCols, row = i / col_pieces * kQuantRows;
      float* const own = scratch(thread, kQuantScratch + kQuantRows * kQuantCols);
      QuantisedPiece p{};
      p.x = rounded;
      p.row = row;
      p.rows = std::min(kQuantRows, rows - row);
      p.format = w.format;
      p.w = row_address(w, col);
      p.row_bytes = w.row_bytes;
      p.cols = std::min(kQuantCols, y.cols() - col);
      p.depth = depth;
      p.accumulate = mode == GradMode::accumulate;
      p.scratch = own;
      if (y.dtype == DType::f32) {
        p.y = y.as<float>() + (first + row) * y.stride + col;
        p.y_stride = y.stride;
        return quantised_.multiply(p);
      }
      p.y = own + kQuantScratch;
      p.y_stride = kQuantCols;
      const auto for_rows = [&](auto&& work) {
        for (std::int64_t r = 0; r < p.rows; ++r)
          work(row_address(y, first + row + r) + col * size_of(y.dtype), p.y + r * p.y_stride);
      };
      if (p.accumulate)
        for_rows([&](char* of_y, float* f32) { move(f32, DType::f32, of_y, y.dtype, p.cols); });
      quantised_.multiply(p);
      for_rows([&](char* of_y, float* f32) { move(of_y, y.dtype, f32, DType::f32, p.cols); });
    });
  }
}

}  // namespace lacuna
