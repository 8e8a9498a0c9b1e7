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

void linear_forward(Ops& ops, Tensor y, Tensor x, const PackedMatrix& w) {
  std::int64_t first = 0;
  for (const Matrix& part : w.parts) {
    ops.linear_forward(y.column_range(first, part.rows()), x, part);
    first += part.rows();
  }
}

void linear_backward_input(Ops& ops, Tensor dx, Tensor dy, const PackedMatrix& w) {
  std::int64_t first = 0;
  for (const Matrix& part : w.parts) {
    ops.linear_backward_input(dx, dy.column_range(first, part.rows()), part,
                              first == 0 ? GradMode::overwrite : GradMode::accumulate);
    first += part.rows();
  }
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
    check_packed(WeightRole::query, int(l), block.qkv);
    check(WeightRole::attention_out, int(l), block.attention_out);
    if (block.experts.empty()) {
      check_packed(WeightRole::gate, int(l), block.gate_up);
      check(WeightRole::ffn_out, int(l), block.ffn_out);
      continue;
    }
    check(WeightRole::router, int(l), block.router);
    for (std::size_t e = 0; e < block.experts.size(); ++e) {
      check_packed(WeightRole::expert_gate, int(l), block.experts[e].gate_up, int(e));
      check(WeightRole::expert_out, int(l), block.experts[e].ffn_out, int(e));
    }
  }
  check(WeightRole::head, -1, weights.head);
}

}  // namespace lacuna
