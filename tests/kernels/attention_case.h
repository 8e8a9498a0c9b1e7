#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tests/kernels/device_array.h"
#include "tests/support/attention_rows.h"

namespace lacuna::testing {

/// Query heads, the key and value heads they share, and the dimension of each.
struct Heads {
  std::int64_t q, kv, dim;
};

/// An attention and its inputs, rounded to a dtype. k and v are columns of one tensor, as a model
/// has them.
struct AttentionCase {
  AttentionCase(Heads heads, AttentionRows rows, DType type, double score_scale = 1);

  std::int64_t queries() const { return rows.queries(); }
  std::int64_t keys() const { return rows.keys(); }
  std::int64_t q_cols() const { return heads.q * heads.dim; }
  std::int64_t kv_cols() const { return heads.kv * heads.dim; }
  Tensor k() const { return kv.tensor().column_range(0, kv_cols()); }
  Tensor v() const { return kv.tensor().column_range(kv_cols(), kv_cols()); }
  /// Its tensors are views of `rows`.
  AttentionShape shape() const;
  std::string name() const;

  Heads heads;
  AttentionRows rows;
  HostArray q, kv, dout;
};

/// Relative errors of a backend's attention: of f32 sums, scores and exponentials; and of attention
/// weights where they are rounded for tensor cores.
struct AttentionPrecision {
  double sums, weights = 0;
};

/// Values and, for each, a bound on the error of computing it, except for the rounding at the end.
struct Bounded {
  Bounded() = default;
  Bounded(std::int64_t rows, std::int64_t cols)
      : shape{rows, cols}, value(std::size_t(shape.count())), error(std::size_t(shape.count())) {}
  /// Adds a term of a sum to element i, with its error.
  void add(std::int64_t i, double term, double term_error) {
    value[std::size_t(i)] += term;
    error[std::size_t(i)] += term_error;
  }

  Shape shape;
  std::vector<double> value, error;
};
/// Whether `actual`, rounded to `type`, is within the bounds. What no term was added to is 0.
::testing::AssertionResult is_within(const HostArray& actual, const Bounded& expected, DType type);

/// What kernels/ops.h says, in f64, row by row, from lists of the keys that each row sees.
class AttentionReference {
 public:
  AttentionReference(const AttentionCase& c, AttentionPrecision precision);
  /// Sets dq, dk and dv, from the results of a forward pass, which have errors of their own.
  void backward(const HostArray& given_out, const HostArray& given_lse);

  Bounded out, lse, dq, dk, dv;

 private:
  void forward();
  template <class F>
  void for_queries(F&& f) const;
  double dot(const Tensor& x, std::int64_t x_row, std::int64_t x_head, const Tensor& y,
             std::int64_t y_row, std::int64_t y_head) const;
  double score(std::int64_t query, std::int64_t head, std::int64_t key) const;

  const AttentionCase& c_;
  AttentionPrecision precision_;
};

}  // namespace lacuna::testing
