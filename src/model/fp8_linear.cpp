#include "model/fp8_linear.h"

#include <algorithm>

#include "core/check.h"

namespace lacuna {
namespace {

/// The first elements of a vector of codes, as a matrix of them.
Tensor codes_in(const Tensor& memory, DType type, std::int64_t rows, std::int64_t cols) {
  CHECK(rows * cols <= memory.count(), "room for ", memory.count(), " codes; a matrix of [", rows,
        ",", cols, "] has more");
  return {memory.data, {rows, cols}, type, memory.place};
}

enum class Order : std::uint8_t { stored, transposed };

/// In s.second.
Fp8Matrix second_operand(Ops& ops, Tensor x, Tensor amax, Order order, const Fp8Scratch& s) {
  if (!amax.data) ops.absolute_maximum(amax = s.amax, x);
  const bool stored = order == Order::stored;
  const Tensor codes = stored ? codes_in(s.second, DType::e4m3, x.rows(), x.cols())
                              : codes_in(s.second, DType::e4m3, x.cols(), padded_for_fp8(x.rows()));
  ops.quantise_fp8(stored ? codes : Tensor(), stored ? Tensor() : codes, s.second_factor, x, amax);
  return {codes, s.second_factor};
}

}  // namespace

void check_fp8_device(const Ops& ops) {
  CHECK(ops.has_fp8(), ops.description(),
        " has no FP8 products: compute.linear_dtype = \"fp8\" needs a GPU of sm_89 or newer");
}

void Fp8Sizes::add(std::int64_t rows, std::int64_t outputs, std::int64_t inputs, bool training) {
  first = std::max(first, rows * inputs);
  second = std::max(second, outputs * inputs);
  if (!training) return;
  const std::int64_t padded = padded_for_fp8(rows);
  first = std::max(first, rows * outputs);
  first_transposed = std::max(first_transposed, padded * outputs);
  second = std::max({second, padded * inputs, padded_for_fp8(outputs) * inputs});
}

void fp8_linear_forward(Ops& ops, Tensor y, Tensor x, Tensor x_amax, const PackedMatrix& w,
                        const Fp8Scratch& s) {
  if (!x_amax.data) ops.absolute_maximum(x_amax = s.amax, x);
  const Fp8Matrix rows{codes_in(s.first, DType::e4m3, x.rows(), x.cols()), s.first_factor};
  ops.quantise_fp8(rows.codes, Tensor(), rows.factor, x, x_amax);
  std::int64_t first = 0;
  for (const Matrix& part : w.parts) {
    const Fp8Matrix weights = second_operand(ops, part.as_tensor(), {}, Order::stored, s);
    ops.multiply_fp8(y.column_range(first, part.rows()), rows, weights, GradMode::overwrite);
    first += part.rows();
  }
}

void fp8_quantise_gradient(Ops& ops, Tensor dy, Tensor dy_amax, const Fp8Scratch& s) {
  if (!dy_amax.data) ops.absolute_maximum(dy_amax = s.amax, dy);
  ops.quantise_fp8(codes_in(s.first, DType::e5m2, dy.rows(), dy.cols()),
                   codes_in(s.first_transposed, DType::e5m2, dy.cols(), padded_for_fp8(dy.rows())),
                   s.first_factor, dy, dy_amax);
}

void fp8_linear_backward_input(Ops& ops, Tensor dx, const PackedMatrix& w, const Fp8Scratch& s) {
  CHECK(w.parts.size() == 1, "a product in FP8 with the transpose of ", w.parts.size(),
        " matrices, not of one");
  const Matrix& matrix = w.parts.front();
  const Fp8Matrix rows{codes_in(s.first, DType::e5m2, dx.rows(), matrix.rows()), s.first_factor};
  ops.multiply_fp8(dx, rows, second_operand(ops, matrix.as_tensor(), {}, Order::transposed, s),
                   GradMode::overwrite);
}

void fp8_linear_backward_weight(Ops& ops, Tensor dw, Tensor x, Tensor x_amax, const Fp8Scratch& s,
                                GradMode mode) {
  const Fp8Matrix columns{
      codes_in(s.first_transposed, DType::e5m2, dw.rows(), padded_for_fp8(x.rows())),
      s.first_factor};
  ops.multiply_fp8(dw, columns, second_operand(ops, x, x_amax, Order::transposed, s), mode);
}

}  // namespace lacuna
