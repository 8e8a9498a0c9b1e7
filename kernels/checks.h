#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "kernels/ops.h"

// What every backend checks before it writes anything. A message names the operation and the
// tensor, says what it is and what it must be:
//   rmsnorm_forward: w is [4] f32; it must be [5] f32

namespace lacuna {

struct RowsCols {
  std::int64_t rows, cols;
};

/// The checks of one call, for a backend that computes at `place`, in f32 and bf16.
class Checks {
 public:
  Checks(const char* op, Place place) : op_(op), place_(place) {}
  const char* op() const { return op_; }

  /// A Tensor or a Matrix.
  template <class T>
  void is_here(const char* name, const T& t) const {
    CHECK(t.place == place_, op_, ": ", name, " is ", where(t.place), "; it must be ",
          where(place_));
    CHECK(t.data || t.count() == 0, op_, ": ", name, " ", t, " has no memory");
  }
  /// f32 or bf16.
  void is_float(const char* name, const Tensor& t) const {
    is_here(name, t);
    CHECK(t.dtype == DType::f32 || t.dtype == DType::bf16, op_, ": ", name, " is ", t,
          "; it must be f32 or bf16");
  }
  void is_float(const char* name, const Matrix& t) const {
    is_here(name, t);
    CHECK(t.format == MatrixFormat::f32 || t.format == MatrixFormat::bf16, op_, ": ", name, " is ",
          t, "; it must be f32 or bf16");
  }
  void is_contiguous(const char* name, const Tensor& t) const {
    CHECK(t.contiguous(), op_, ": ", name, " is ", t, " with ", t.stride,
          " elements between rows; it must be contiguous");
  }
  /// [rows, cols], seen as a matrix, contiguous or not.
  void is_strided(const char* name, const Tensor& t, std::int64_t rows, std::int64_t cols,
                  DType dtype) const {
    is_here(name, t);
    CHECK(t.cols() == cols && t.count() == rows * cols && t.dtype == dtype, op_, ": ", name, " is ",
          t, "; it must be [", rows, ",", cols, "] ", dtype);
  }
  void is_matrix(const char* name, const Tensor& t, std::int64_t rows, std::int64_t cols,
                 DType dtype) const {
    is_strided(name, t, rows, cols, dtype);
    is_contiguous(name, t);
  }
  void is_vector(const char* name, const Tensor& t, std::int64_t n, DType dtype) const {
    is_here(name, t);
    CHECK(t.count() == n && t.dtype == dtype, op_, ": ", name, " is ", t, "; it must be [", n, "] ",
          dtype);
    is_contiguous(name, t);
  }
  /// Gradients of weights may be kept wider than what they are gradients of.
  void is_f32_or(DType narrow, const char* name, const Tensor& t) const {
    CHECK(t.dtype == DType::f32 || t.dtype == narrow, op_, ": ", name, " is ", t, "; it must be ",
          DType::f32, narrow == DType::f32 ? "" : " or bf16");
  }
  void is_same_shape(const char* name, const Tensor& t, const char* other_name,
                     const Tensor& other) const {
    CHECK(t.shape == other.shape, op_, ": ", name, " is ", t, " but ", other_name, " is ", other,
          "; their shapes must be the same");
  }

 private:
  static const char* where(Place p) {
    return p == Place::host ? "in main memory" : "on the device";
  }
  const char* op_;
  Place place_;
};

inline void check_upload(const Checks& c, const std::vector<Upload>& uploads) {
  for (const auto& [to, from] : uploads) {
    c.is_here("to", to);
    c.is_contiguous("to", to);
    Checks(c.op(), Place::host).is_here("from", from);
    c.is_contiguous("from", from);
    c.is_same_shape("to", to, "from", from);
    CHECK(to.dtype == from.dtype && size_of(to.dtype) % 4 == 0, c.op(), ": to is ", to,
          " but from is ", from, "; both must be of one dtype of 4 or 8 bytes");
  }
}

inline RowsCols check_gather_rows(const Checks& c, const char* gathered_name,
                                  const Tensor& gathered, const char* all_name, const Tensor& all,
                                  const Tensor& rows) {
  c.is_float(all_name, all);
  c.is_vector("rows", rows, rows.count(), DType::i32);
  c.is_matrix(gathered_name, gathered, rows.count(), all.cols(), all.dtype);
  return {rows.count(), all.cols()};
}

struct Routing {
  std::int64_t rows, experts, each;  // each: experts of a row
};
inline Routing check_route_rows(const Checks& c, const RoutedRows& routed, const Tensor& logits) {
  c.is_float("logits", logits);
  c.is_contiguous("logits", logits);
  const std::int64_t rows = logits.rows(), experts = logits.cols(), n = routed.rows.count();
  CHECK(logits.shape.rank == 2 && experts >= 1 && experts <= kMostRoutedExperts, c.op(),
        ": logits is ", logits, "; it must be a matrix of at most ", kMostRoutedExperts,
        " columns");
  CHECK(rows == 0 ? n == 0 : n % rows == 0 && n / rows >= 1 && n / rows <= experts, c.op(),
        ": rows is ", routed.rows, " but logits is ", logits, "; each row must go to 1 to ",
        experts, " experts");
  c.is_vector("offsets", routed.offsets, experts + 1, DType::i32);
  c.is_vector("rows", routed.rows, n, DType::i32);
  c.is_vector("weights", routed.weights, n, DType::f32);
  return {rows, experts, rows ? n / rows : 0};
}

inline RowsCols check_add_weighted_rows(const Checks& c, const Tensor& x, const Tensor& y,
                                        const Tensor& rows, const Tensor& weights) {
  c.is_float("y", y);
  c.is_matrix("x", x, x.rows(), y.cols(), DType::f32);
  c.is_vector("rows", rows, rows.count(), DType::i32);
  c.is_matrix("y", y, rows.count(), x.cols(), y.dtype);
  c.is_vector("weights", weights, rows.count(), DType::f32);
  return {rows.count(), x.cols()};
}

/// The opposite direction; y may be strided, too.
inline RowsCols check_scatter_rows(const Checks& c, const Tensor& x, const Tensor& y,
                                   const Tensor& rows) {
  c.is_float("x", x);
  c.is_vector("rows", rows, rows.count(), DType::i32);
  c.is_strided("y", y, rows.count(), x.cols(), x.dtype);
  return {rows.count(), x.cols()};
}

inline RowsCols check_embedding(const Checks& c, const char* rows_name, const Tensor& rows,
                                const Tensor& ids, const char* table_name, const Matrix& table) {
  c.is_float(rows_name, rows);
  c.is_float(table_name, table);
  c.is_vector("ids", ids, ids.count(), DType::i32);
  c.is_matrix(table_name, table.as_tensor(), table.rows(), rows.cols(),
              info_of(table.format).dtype);
  c.is_matrix(rows_name, rows, ids.count(), table.cols(), rows.dtype);
  return {ids.count(), table.cols()};
}

/// embedding_forward with f32 rows and a table in any format, or bf16 rows and one of blocks.
inline RowsCols check_stored_embedding(const Checks& c, const Tensor& y, const Tensor& ids,
                                       const Matrix& w) {
  c.is_here("w", w);
  CHECK(w.shape.rank == 2 && w.contiguous(), c.op(), ": w is ", w,
        "; it must be a contiguous matrix");
  c.is_vector("ids", ids, ids.count(), DType::i32);
  if (!w.is_float()) c.is_float("y", y);
  c.is_matrix("y", y, ids.count(), w.cols(), w.is_float() ? DType::f32 : y.dtype);
  return {ids.count(), w.cols()};
}

inline void check_axpby(const Checks& c, const Tensor& y, const Tensor& x, const Tensor& factor) {
  c.is_float("y", y);
  c.is_float("x", x);
  c.is_contiguous("y", y);
  c.is_contiguous("x", x);
  c.is_same_shape("y", y, "x", x);
  if (factor.data) c.is_vector("factor", factor, 1, DType::f32);
}

/// Which of the three matrices of a linear operation is written.
enum class Written : std::uint8_t { y, x, w };

inline void check_linear_shapes(const Checks& c, const char* y_name, const Tensor& y,
                                const char* x_name, const Tensor& x, const char* w_name,
                                const Matrix& w) {
  c.is_float(y_name, y);
  c.is_float(x_name, x);
  CHECK(w.shape.rank == 2 && w.contiguous(), c.op(), ": ", w_name, " is ", w,
        "; it must be a contiguous matrix [out,in]");
  CHECK(x.cols() == w.shape[1], c.op(), ": ", x_name, " is ", x, " but ", w_name, " is ", w, "; ",
        x_name, " must have ", w.shape[1], " columns");
  CHECK(y.cols() == w.shape[0] && y.rows() == x.rows(), c.op(), ": ", y_name, " is ", y, " but ",
        x_name, " is ", x, " and ", w_name, " is ", w, "; ", y_name, " must be [", x.rows(), ",",
        w.shape[0], "]");
}

/// The three matrices of a linear operation: y [N,O] and x [N,I], either strided, and w [O,I]. What
/// is written may be f32 where the other two are bf16.
inline void check_linear(const Checks& c, const char* y_name, const Tensor& y, const char* x_name,
                         const Tensor& x, const char* w_name, const Matrix& w, Written written) {
  check_linear_shapes(c, y_name, y, x_name, x, w_name, w);
  c.is_float(w_name, w);
  const DType factors = written == Written::w ? x.dtype : info_of(w.format).dtype;
  const auto check_dtype = [&](Written which, const char* name, const Tensor& t) {
    if (which == written)
      c.is_f32_or(factors, name, t);
    else
      CHECK(t.dtype == factors, c.op(), ": ", name, " is ", t, "; it must be ", factors);
  };
  check_dtype(Written::y, y_name, y);
  check_dtype(Written::x, x_name, x);
  check_dtype(Written::w, w_name, w.as_tensor());
}

inline void check_absolute_maximum(const Checks& c, const Tensor& amax, const Tensor& x) {
  c.is_float("x", x);
  c.is_vector("amax", amax, 1, DType::f32);
}

/// x [N,C].
inline RowsCols check_quantise_fp8(const Checks& c, const Tensor& codes, const Tensor& transposed,
                                   const Tensor& factor, const Tensor& x, const Tensor& amax) {
  c.is_float("x", x);
  const RowsCols n{x.rows(), x.cols()};
  const DType type = codes.data ? codes.dtype : transposed.dtype;
  CHECK(type == DType::e4m3 || type == DType::e5m2, c.op(), ": codes is ", codes,
        " and transposed is ", transposed, "; they must be e4m3 or e5m2");
  if (codes.data) c.is_matrix("codes", codes, n.rows, n.cols, type);
  if (transposed.data) c.is_matrix("transposed", transposed, n.cols, padded_for_fp8(n.rows), type);
  c.is_vector("factor", factor, 1, DType::f32);
  c.is_vector("amax", amax, 1, DType::f32);
  return n;
}

inline void check_multiply_fp8(const Checks& c, const Tensor& y, const Fp8Matrix& a,
                               const Fp8Matrix& b) {
  const std::int64_t depth = a.codes.cols();
  CHECK(depth % kFp8Columns == 0, c.op(), ": a is ", a.codes,
        "; its columns must be a multiple of ", kFp8Columns);
  CHECK(a.codes.dtype == DType::e4m3 || a.codes.dtype == DType::e5m2, c.op(), ": a is ", a.codes,
        "; it must be e4m3 or e5m2");
  for (const auto& [name, m] : {std::pair("a", &a), std::pair("b", &b)})
    CHECK(m->codes.shape.rank == 2, c.op(), ": ", name, " is ", m->codes, "; it must be a matrix");
  c.is_matrix("a", a.codes, a.codes.shape[0], depth, a.codes.dtype);
  c.is_matrix("b", b.codes, b.codes.shape[0], depth, DType::e4m3);
  c.is_vector("a's factor", a.factor, 1, DType::f32);
  c.is_vector("b's factor", b.factor, 1, DType::f32);
  c.is_float("y", y);
  c.is_strided("y", y, a.codes.shape[0], b.codes.shape[0], y.dtype);
}

/// linear_forward with f32 rows and weights in a format of their own, or bf16 rows and blocks.
inline void check_stored_linear(const Checks& c, const Tensor& y, const Tensor& x,
                                const Matrix& w) {
  check_linear_shapes(c, "y", y, "x", x, "w", w);
  c.is_here("w", w);
  for (const Tensor* t : {&x, &y})
    CHECK(t->dtype == DType::f32 || !w.is_float(), c.op(), ": ", t == &x ? "x" : "y", " is ", *t,
          "; beside weights of ", w.format, " it must be f32");
}

inline RowsCols check_rmsnorm_forward(const Checks& c, const Tensor& y, const Tensor& rstd,
                                      const Tensor& x, const Tensor& w) {
  c.is_float("x", x);
  c.is_float("w", w);
  const RowsCols n{x.rows(), x.cols()};
  c.is_contiguous("x", x);
  c.is_matrix("y", y, n.rows, n.cols, x.dtype);
  c.is_vector("w", w, n.cols, w.dtype);
  c.is_vector("rstd", rstd, n.rows, DType::f32);
  return n;
}

inline RowsCols check_add_rmsnorm_forward(const Checks& c, const Tensor& sum, const Tensor& y,
                                          const Tensor& rstd, const Tensor& x, const Tensor& delta,
                                          const Tensor& w) {
  const RowsCols n = check_rmsnorm_forward(c, y, rstd, x, w);
  c.is_matrix("sum", sum, n.rows, n.cols, x.dtype);
  c.is_matrix("delta", delta, n.rows, n.cols, x.dtype);
  return n;
}

inline RowsCols check_rmsnorm_backward(const Checks& c, const Tensor& dx, const Tensor& dw,
                                       const Tensor& dy, const Tensor& x, const Tensor& rstd,
                                       const Tensor& w) {
  c.is_float("x", x);
  c.is_float("w", w);
  const RowsCols n{x.rows(), x.cols()};
  c.is_contiguous("x", x);
  c.is_matrix("dy", dy, n.rows, n.cols, x.dtype);
  c.is_matrix("dx", dx, n.rows, n.cols, x.dtype);
  c.is_vector("w", w, n.cols, w.dtype);
  c.is_vector("rstd", rstd, n.rows, DType::f32);
  if (!dw.data && dw.shape.rank == 0) return n;  // none is wanted
  c.is_f32_or(w.dtype, "dw", dw);
  c.is_vector("dw", dw, n.cols, dw.dtype);
  return n;
}

inline void check_dequantise(const Checks& c, const Tensor& y, const Matrix& w) {
  c.is_here("w", w);
  CHECK(w.shape.rank == 2 && w.contiguous(), c.op(), ": w is ", w,
        "; it must be a contiguous matrix [out,in]");
  c.is_float("y", y);
  c.is_matrix("y", y, w.rows(), w.cols(), y.dtype);
}

inline RowsCols check_rope(const Checks& c, const Tensor& x, const Tensor& positions,
                           const Tensor& table) {
  c.is_float("x", x);
  c.is_matrix("table", table, table.rows(), table.cols(), DType::f32);
  const std::int64_t d = table.cols();
  CHECK(d > 0 && d % 2 == 0, c.op(), ": table is ", table, "; it must have an even number of ",
        "columns, one head's width");
  CHECK(x.cols() % d == 0, c.op(), ": x is ", x, " but table is ", table,
        "; x must have a multiple of ", d, " columns");
  c.is_vector("positions", positions, x.rows(), DType::i32);
  return {x.rows(), x.cols()};
}

/// Shapes and dtypes. What the offsets and intervals hold is for the backend to check, where it can
/// read them.
inline void check_attention_forward(const Checks& c, const Tensor& out, const Tensor& lse,
                                    const Tensor& q, const Tensor& k, const Tensor& v,
                                    const AttentionShape& s) {
  CHECK(s.kv_heads > 0 && s.heads > 0 && s.heads % s.kv_heads == 0, c.op(), ": ", s.heads,
        " query heads cannot share ", s.kv_heads, " key heads evenly");
  CHECK(s.head_dim > 0, c.op(), ": head_dim is ", s.head_dim, "; it must be 1 or more");
  c.is_float("q", q);
  const std::int64_t queries = q.rows(), keys = k.rows();
  c.is_strided("q", q, queries, s.heads * s.head_dim, q.dtype);
  c.is_strided("k", k, keys, s.kv_heads * s.head_dim, q.dtype);
  c.is_strided("v", v, keys, s.kv_heads * s.head_dim, q.dtype);
  c.is_matrix("out", out, queries, s.heads * s.head_dim, q.dtype);
  c.is_matrix("lse", lse, queries, s.heads, DType::f32);
  CHECK(s.query_offsets.count() > 0, c.op(), ": query_offsets is ", s.query_offsets,
        "; it must be [segments + 1] i32");
  c.is_vector("query_offsets", s.query_offsets, s.query_offsets.count(), DType::i32);
  c.is_vector("key_offsets", s.key_offsets, s.query_offsets.count(), DType::i32);
  c.is_matrix("query_keys", s.query_keys, queries, 4, DType::i32);
}

inline void check_attention_backward(const Checks& c, const Tensor& dq, const Tensor& dk,
                                     const Tensor& dv, const Tensor& dout, const Tensor& out,
                                     const Tensor& lse, const Tensor& q, const Tensor& k,
                                     const Tensor& v, const AttentionShape& s) {
  check_attention_forward(c, out, lse, q, k, v, s);
  c.is_strided("dq", dq, q.rows(), q.cols(), q.dtype);
  c.is_strided("dk", dk, k.rows(), k.cols(), q.dtype);
  c.is_strided("dv", dv, k.rows(), k.cols(), q.dtype);
  c.is_matrix("dout", dout, q.rows(), q.cols(), q.dtype);
}

inline RowsCols check_swiglu_forward(const Checks& c, const Tensor& y, const Tensor& gate_up) {
  c.is_float("y", y);
  c.is_contiguous("y", y);
  c.is_matrix("gate_up", gate_up, y.rows(), 2 * y.cols(), y.dtype);
  return {y.rows(), y.cols()};
}

inline RowsCols check_swiglu_backward(const Checks& c, const Tensor& d_gate_up, const Tensor& y,
                                      const Tensor& dy, const Tensor& gate_up) {
  const RowsCols n = check_swiglu_forward(c, y, gate_up);
  c.is_matrix("dy", dy, n.rows, n.cols, y.dtype);
  c.is_matrix("d_gate_up", d_gate_up, n.rows, 2 * n.cols, y.dtype);
  return n;
}

inline RowsCols check_cross_entropy(const Checks& c, const Tensor& loss, const Tensor& logits,
                                    const Tensor& targets) {
  c.is_float("logits", logits);
  c.is_vector("loss", loss, logits.rows(), DType::f32);
  c.is_vector("targets", targets, logits.rows(), DType::i32);
  return {logits.rows(), logits.cols()};
}

/// The number of ranks.
inline std::int64_t check_complete_logits(const Checks& c, const Tensor& column,
                                          const Tensor& own_targets, const Tensor& lse,
                                          const Tensor& targets, int rank) {
  const std::int64_t rows = targets.count(), ranks = lse.rows();
  c.is_float("column", column);
  c.is_strided("column", column, rows, rows ? 1 : column.cols(), column.dtype);
  c.is_vector("targets", targets, rows, DType::i32);
  c.is_vector("own_targets", own_targets, rows, DType::i32);
  c.is_matrix("lse", lse, ranks, rows, DType::f32);
  CHECK(rows == 0 || (ranks >= 2 && rank >= 0 && rank < ranks), c.op(), ": lse is ", lse, "; rank ",
        rank, " must be one of at least 2");
  return ranks;
}

inline RowsCols check_apply_cfg(const Checks& c, const Tensor& logits,
                                const Tensor& unconditional) {
  c.is_float("logits", logits);
  c.is_contiguous("logits", logits);
  c.is_matrix("unconditional", unconditional, logits.rows(), logits.cols(), logits.dtype);
  return {logits.rows(), logits.cols()};
}

/// Whether an optional tensor is there.
inline bool is_given(const Tensor& t) { return t.shape.rank != 0; }

inline void check_sampling_parameters(const Checks& c, const SamplingParameters& p,
                                      std::int64_t vocab) {
  CHECK(p.temperature >= 0 && std::isfinite(p.temperature), c.op(), ": temperature is ",
        p.temperature, "; it must be finite, 0 or more");
  CHECK(p.step < std::uint64_t{1} << 32, c.op(), ": step is ", p.step, "; it must be below 2^32");
  std::int64_t forbidden = 0;
  for (std::size_t i = 0; i < p.forbidden.size(); ++i) {
    const std::int32_t id = p.forbidden[i];
    CHECK(id >= -1 && id < vocab, c.op(), ": forbidden[", i, "] is ", id,
          "; it must be -1 (none) or in [0,", vocab, ")");
    const auto* begin = p.forbidden.data();
    forbidden += id >= 0 && std::find(begin, begin + i, id) == begin + i;
  }
  CHECK(forbidden < vocab, c.op(), ": all ", vocab, " tokens are forbidden");
}

inline RowsCols check_row_stats(const Checks& c, const RowStats& s, const Tensor& logits,
                                const Tensor& row_keys, const Tensor& current,
                                const SamplingParameters& p) {
  c.is_float("logits", logits);
  CHECK(logits.cols() > 0, c.op(), ": logits is ", logits, "; it must have columns");
  const RowsCols n{logits.rows(), logits.cols()};
  const auto check = [&](const char* name, const Tensor& t, DType dtype) {
    if (is_given(t)) c.is_vector(name, t, n.rows, dtype);
  };
  check("draw", s.draw, DType::i32);
  check("p_draw", s.p_draw, DType::f32);
  check("argmax", s.argmax, DType::i32);
  check("p_first", s.p_first, DType::f32);
  check("p_second", s.p_second, DType::f32);
  check("entropy", s.entropy, DType::f32);
  check("p_current", s.p_current, DType::f32);
  if (is_given(s.draw) || is_given(s.p_draw)) c.is_vector("row_keys", row_keys, n.rows, DType::i64);
  if (is_given(s.p_current)) c.is_vector("current", current, n.rows, DType::i32);
  check_sampling_parameters(c, p, n.cols);
  return n;
}

/// The number of segments.
inline std::int64_t check_decide(const Checks& c, const Commits& commits, const RowStats& found,
                                 const Tensor& rows, const Tensor& offsets,
                                 const CommitRules& rules) {
  const std::int64_t draws = found.draw.count(), segments = rules.rules.count();
  c.is_vector("tokens", commits.tokens, commits.tokens.count(), DType::i32);
  c.is_vector("draw", found.draw, draws, DType::i32);
  c.is_vector("p_draw", found.p_draw, draws, DType::f32);
  for (const auto& [name, t] :
       {std::pair("p_first", found.p_first), std::pair("p_second", found.p_second),
        std::pair("entropy", found.entropy)})
    if (is_given(t)) c.is_vector(name, t, draws, DType::f32);
  c.is_matrix("rows", rows, draws ? rows.count() / draws : rows.rows(), draws, DType::i32);
  c.is_vector("step", commits.step, draws, DType::i32);
  c.is_vector("probability", commits.probability, draws, DType::f32);
  c.is_vector("not_finite", commits.not_finite, 1, DType::i32);
  c.is_vector("offsets", offsets, segments + 1, DType::i32);
  c.is_vector("rules", rules.rules, segments, DType::i32);
  c.is_vector("bounds", rules.bounds, segments, DType::f64);
  c.is_vector("least", rules.least, segments, DType::i32);
  return segments;
}
/// Where its scores come from.
inline ScoreSources score_sources(const RowStats& found) {
  const auto of = [](const Tensor& t) { return is_given(t) ? t.as<float>() : nullptr; };
  return {of(found.p_draw), of(found.p_first), of(found.p_second), of(found.entropy)};
}

inline void check_add_squares(const Checks& c, const Tensor& sum,
                              const std::vector<Tensor>& tensors) {
  for (const Tensor& x : tensors) {
    c.is_float("x", x);
    c.is_contiguous("x", x);
    CHECK(x.dtype == tensors.front().dtype, c.op(), ": x is ", x.dtype, " in one tensor, ",
          tensors.front().dtype, " in the first");
  }
  c.is_vector("sum", sum, 1, DType::f64);
}

inline void check_gradient_sums(const Checks& c, const std::vector<GradientSumPiece>& pieces,
                                const GradientRounding& rounding) {
  for (const GradientSumPiece& p : pieces) {
    c.is_vector("sum", p.sum, p.x.count(), DType::bf16);
    c.is_vector("x", p.x, p.x.count(), DType::f32);
    c.is_same_shape("sum", p.sum, "x", p.x);
  }
  CHECK(rounding.step < std::uint64_t{1} << 32, c.op(), ": step is ", rounding.step,
        "; it must be below 2^32");
  CHECK(rounding.micro_batch < std::uint64_t{1} << 20, c.op(), ": micro_batch is ",
        rounding.micro_batch, "; it must be below 2^20");
}

inline void check_adamw(const Checks& c, const std::vector<AdamWPiece>& pieces, const Tensor& scale,
                        const AdamWParameters& p) {
  for (const AdamWPiece& x : pieces) {
    c.is_float("g", x.g);
    c.is_vector("w", x.w, x.g.count(), DType::f32);
    const DType moments = x.m.dtype == DType::bf16 ? DType::bf16 : DType::f32;
    c.is_vector("m", x.m, x.g.count(), moments);
    c.is_vector("v", x.v, x.g.count(), moments);
    c.is_contiguous("g", x.g);
    c.is_same_shape("m", x.m, "w", x.w);
    c.is_same_shape("v", x.v, "w", x.w);
    c.is_same_shape("g", x.g, "w", x.w);
    CHECK(x.g.dtype == pieces.front().g.dtype && x.rounded.dtype == pieces.front().rounded.dtype,
          c.op(), ": g and rounded are ", x.g.dtype, " and ", x.rounded.dtype, " in one piece, ",
          pieces.front().g.dtype, " and ", pieces.front().rounded.dtype, " in the first");
    CHECK(x.m.dtype == pieces.front().m.dtype, c.op(), ": m is ", x.m.dtype, " in one piece, ",
          pieces.front().m.dtype, " in the first");
    if (!x.rounded.data) continue;
    c.is_float("rounded", x.rounded);
    c.is_contiguous("rounded", x.rounded);
    c.is_same_shape("rounded", x.rounded, "w", x.w);
  }
  c.is_vector("scale", scale, 1, DType::f32);
  CHECK(p.step >= 1, c.op(), ": step is ", p.step, "; the first update is step 1");
  CHECK(p.step < std::int64_t{1} << 32, c.op(), ": step is ", p.step, "; it must be below 2^32");
}

}  // namespace lacuna
