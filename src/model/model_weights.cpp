#include "model/model_weights.h"

#include <algorithm>
#include <string>

#include "core/check.h"
#include "model/weight_spec.h"

namespace lacuna {

PackedMatrix PackedMatrix::joined(const std::vector<Matrix>& parts) {
  PackedMatrix packed;
  for (const Matrix& part : parts) {
    const Matrix* last = packed.parts.empty() ? nullptr : &packed.parts.back();
    const bool follows =
        last && last->format == part.format && last->cols() == part.cols() &&
        last->place == part.place && last->row_bytes == part.row_bytes &&
        static_cast<const char*>(last->data) + last->rows() * last->row_bytes == part.data;
    if (follows)
      packed.parts.back().shape.extent[0] += part.rows();
    else
      packed.parts.push_back(part);
  }
  return packed;
}

std::int64_t PackedMatrix::rows() const {
  std::int64_t n = 0;
  for (const Matrix& part : parts) n += part.rows();
  return n;
}

PackedMatrix PackedMatrix::row_range(std::int64_t from, std::int64_t n) const {
  CHECK(from >= 0 && n >= 0 && from + n <= rows(), "rows ", from, "+", n,
        " of a packed matrix with ", rows());
  PackedMatrix range;
  std::int64_t first = 0;
  for (const Matrix& part : parts) {
    const std::int64_t begin = std::max(from, first), end = std::min(from + n, first + part.rows());
    if (begin < end) range.parts.push_back(part.row_range(begin - first, end - begin));
    first += part.rows();
  }
  return range;
}

std::int64_t dequantised_elements(const Shape& matrix) {
  constexpr std::int64_t kMost = std::int64_t{1} << 26;
  return std::clamp<std::int64_t>(kMost / matrix[1], 1, matrix[0]) * matrix[1];
}

namespace {

/// Calls work(first, part) for rows of w that make it up, in x's type where there is room for that.
template <class Work>
void for_readable_rows(Ops& ops, const Matrix& w, DType type, const Tensor& dequantised,
                       const Work& work) {
  if (!dequantised.data || w.format == format_of(type)) return work(std::int64_t{0}, w);
  const std::int64_t most = dequantised.count() / w.cols();
  for (std::int64_t first = 0; first < w.rows(); first += most) {
    const std::int64_t n = std::min(most, w.rows() - first);
    const Tensor rows = dequantised.row_range(0, n * w.cols()).reshaped({n, w.cols()});
    ops.dequantise(rows, w.row_range(first, n));
    work(first, Matrix(rows));
  }
}

template <class Visitor>
void visit_matrices(const BlockWeights& block, const Visitor& visit) {
  for (const PackedMatrix* packed : {&block.qkv, &block.gate_up})
    for (const Matrix& part : packed->parts) visit(part);
  visit(block.attention_out);
  if (block.experts.empty()) visit(block.ffn_out);
}

}  // namespace

void linear_forward(Ops& ops, Tensor y, Tensor x, const Matrix& w, const Tensor& dequantised) {
  for_readable_rows(ops, w, x.dtype, dequantised, [&](std::int64_t first, const Matrix& rows) {
    ops.linear_forward(y.column_range(first, rows.rows()), x, rows);
  });
}

void linear_backward_input(Ops& ops, Tensor dx, Tensor dy, const Matrix& w,
                           const Tensor& dequantised) {
  linear_backward_input(ops, dx, dy, PackedMatrix{{w}}, dequantised);
}

void linear_forward(Ops& ops, Tensor y, Tensor x, const PackedMatrix& w,
                    const Tensor& dequantised) {
  std::int64_t first = 0;
  for (const Matrix& part : w.parts) {
    linear_forward(ops, y.column_range(first, part.rows()), x, part, dequantised);
    first += part.rows();
  }
}

void linear_backward_input(Ops& ops, Tensor dx, Tensor dy, const PackedMatrix& w,
                           const Tensor& dequantised) {
  std::int64_t before = 0;
  for (const Matrix& part : w.parts) {
    for_readable_rows(ops, part, dy.dtype, dequantised,
                      [&](std::int64_t first, const Matrix& rows) {
                        ops.linear_backward_input(
                            dx, dy.column_range(before + first, rows.rows()), rows,
                            before + first == 0 ? GradMode::overwrite : GradMode::accumulate);
                      });
    before += part.rows();
  }
}

WeightScratch weight_scratch(const ModelWeights& weights, const Ops& ops, bool training) {
  WeightScratch scratch;
  for (const BlockWeights& block : weights.blocks) {
    const BlockAdapters& a = block.adapters;
    for (const Adapter* adapter : {&a.qkv, &a.attention_out, &a.gate_up, &a.ffn_out})
      if (adapter->exists()) scratch.low_rank = std::max(scratch.low_rank, adapter->a.rows());
    visit_matrices(block, [&](const Matrix& w) {
      const bool converted =
          training ? w.format != format_of(weights.dtype) : !ops.reads(w.format, weights.dtype);
      if (converted)
        scratch.dequantised = std::max(scratch.dequantised, dequantised_elements(w.shape));
    });
  }
  return scratch;
}

void check_formats(const ModelWeights& weights, const Ops& ops) {
  const auto check = [&](WeightRole role, int block, const Matrix& w, int expert = -1) {
    CHECK(ops.reads(w.format, weights.dtype),
          weight_spec(role).name(NameScheme::llada, block, expert), " is stored as ", w.format,
          ", which ", ops.description(), " does not read beside ", weights.dtype, " activations");
  };
  const auto check_packed = [&](WeightRole first, int block, const PackedMatrix& w,
                                int expert = -1) {
    // Parts follow each other as their roles do.
    const bool apart = w.parts.size() > 1;
    for (std::size_t i = 0; i < w.parts.size(); ++i)
      check(WeightRole(int(first) + (apart ? int(i) : 0)), block, w.parts[i], expert);
  };
  check(WeightRole::embedding, -1, weights.embedding);
  for (std::size_t l = 0; l < weights.blocks.size(); ++l) {
    const BlockWeights& block = weights.blocks[l];
    if (block.experts.empty()) continue;
    check(WeightRole::router, int(l), block.router);
    for (std::size_t e = 0; e < block.experts.size(); ++e) {
      check_packed(WeightRole::expert_gate, int(l), block.experts[e].gate_up, int(e));
      check(WeightRole::expert_out, int(l), block.experts[e].ffn_out, int(e));
    }
  }
  check(WeightRole::head, -1, weights.head);
}

}  // namespace lacuna
