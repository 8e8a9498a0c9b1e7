#include "model/adapter.h"

#include "core/check.h"

namespace lacuna {
namespace {

/// The first elements of a vector, as [rows, k r].
Tensor low_rank_rows(const Tensor& memory, std::int64_t rows, const Adapter& w) {
  const std::int64_t cols = w.a.rows();
  return memory.row_range(0, rows * cols).reshaped({rows, cols});
}

/// Those of matrix i.
Tensor columns_of(const Tensor& low, const Adapter& w, std::size_t i) {
  const std::int64_t rank = w.parts[i].b.cols();
  return low.column_range(std::int64_t(i) * rank, rank);
}

Tensor outputs_of(const Tensor& y, const Adapter::Part& part) {
  return y.column_range(part.row, part.b.rows());
}

void scale_low_rank(Ops& ops, const Tensor& low, float scale) {
  if (scale != 1) ops.axpby(low, scale, low, 0);
}

/// s x A^T.
Tensor project_low_rank(Ops& ops, const Tensor& x, const Adapter& w, const Tensor& memory) {
  const Tensor low = low_rank_rows(memory, x.rows(), w);
  ops.linear_forward(low, x, w.a);
  scale_low_rank(ops, low, w.scale);
  return low;
}

}  // namespace

Adapter Adapter::row_range(std::int64_t from, std::int64_t n) const {
  Adapter range;
  range.scale = scale;
  std::int64_t first = 0;  // row of a
  for (const Part& part : parts) {
    const std::int64_t rank = part.b.cols();
    if (part.row >= from && part.row < from + n) {
      CHECK(part.row + part.b.rows() <= from + n, "rows ", from, "+", n, " cut an adapter of rows ",
            part.row, "+", part.b.rows());
      if (range.parts.empty()) range.a = a.row_range(first, 0);
      range.parts.push_back({part.b, part.row - from});
      range.a.shape.extent[0] += rank;
    }
    if (range.parts.empty()) first += rank;
  }
  return range;
}

void adapter_forward(Ops& ops, Tensor y, Tensor x, const Adapter& w,
                     const AdapterScratch& scratch) {
  if (!w.exists()) return;
  const Tensor low = project_low_rank(ops, x, w, scratch.low);
  for (std::size_t i = 0; i < w.parts.size(); ++i)
    ops.linear_forward(outputs_of(y, w.parts[i]), columns_of(low, w, i), w.parts[i].b,
                       GradMode::accumulate);
}

void adapter_backward_low(Ops& ops, Tensor dy, const Adapter& w, const AdapterScratch& scratch) {
  if (!w.exists()) return;
  const Tensor d_low = low_rank_rows(scratch.d_low, dy.rows(), w);
  for (std::size_t i = 0; i < w.parts.size(); ++i)
    ops.linear_backward_input(columns_of(d_low, w, i), outputs_of(dy, w.parts[i]), w.parts[i].b,
                              GradMode::overwrite);
  scale_low_rank(ops, d_low, w.scale);
}

void adapter_backward_input(Ops& ops, Tensor dx, const Adapter& w, const AdapterScratch& scratch) {
  if (!w.exists()) return;
  ops.linear_backward_input(dx, low_rank_rows(scratch.d_low, dx.rows(), w), w.a,
                            GradMode::accumulate);
}

void adapter_backward_weight(Ops& ops, const Adapter& dw, Tensor dy, Tensor x, const Adapter& w,
                             const AdapterScratch& scratch, GradMode mode) {
  if (!w.exists()) return;
  const Tensor low = project_low_rank(ops, x, w, scratch.low);
  for (std::size_t i = 0; i < w.parts.size(); ++i)
    ops.linear_backward_weight(dw.parts[i].b, outputs_of(dy, w.parts[i]), columns_of(low, w, i),
                               mode);
  ops.linear_backward_weight(dw.a, low_rank_rows(scratch.d_low, x.rows(), w), x, mode);
}

}  // namespace lacuna
