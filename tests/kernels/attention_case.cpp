#include "tests/kernels/attention_case.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/tensor_of.h"

namespace lacuna::testing {
namespace {

// A score s has an error of some units in the last place, which is a relative error of exp(s).
constexpr double kScoreError = 0x1p-21;

/// Makes rows of diverged sequences `value`; `offsets` are those of its queries or keys.
void diverge(HostArray& x, const AttentionRows& rows, const std::vector<std::int32_t>& offsets,
             std::int64_t from, std::int64_t columns, float value) {
  for (std::size_t s = 0; s < rows.diverged.size(); ++s)
    for (std::int64_t i = offsets[s]; rows.diverged[s] && i < offsets[s + 1]; ++i)
      for (std::int64_t j = 0; j < columns; ++j) x[i * x.shape[1] + from + j] = value;
}

}  // namespace

AttentionCase::AttentionCase(Heads heads_, AttentionRows rows_, DType type, double score_scale)
    : heads(heads_),
      rows(std::move(rows_)),
      q(normal({queries(), q_cols()}, 1, type, score_scale)),
      kv(normal({keys(), 2 * kv_cols()}, 2, type)),
      dout(normal({queries(), q_cols()}, 3, type)) {
  diverge(q, rows, rows.query_offsets, 0, q_cols(), NAN);
  diverge(kv, rows, rows.key_offsets, 0, kv_cols(), NAN);
  diverge(kv, rows, rows.key_offsets, kv_cols(), kv_cols(), INFINITY);
  diverge(dout, rows, rows.query_offsets, 0, q_cols(), INFINITY);
}

AttentionShape AttentionCase::shape() const {
  AttentionShape s;
  s.heads = heads.q;
  s.kv_heads = heads.kv;
  s.head_dim = heads.dim;
  s.query_offsets = tensor_of(rows.query_offsets);
  s.key_offsets = tensor_of(rows.key_offsets);
  s.query_keys = tensor_of(rows.query_keys);
  return s;
}

std::string AttentionCase::name() const {
  return str(heads.q, "/", heads.kv, " heads of ", heads.dim, ", ", queries(), " queries, ", keys(),
             " keys, ", rows.query_offsets.size() - 1, " segments");
}

::testing::AssertionResult is_within(const HostArray& actual, const Bounded& expected, DType type) {
  for (std::int64_t i = 0; i < actual.count(); ++i) {
    const double a = actual[i], e = expected.value[std::size_t(i)];
    double bound = expected.error[std::size_t(i)];
    if (bound > 0) bound += one_rounding(type) * std::abs(e) + 1e-6;
    if (std::isnan(e) && std::isnan(a)) continue;
    if (!(std::abs(a - e) <= bound))
      return ::testing::AssertionFailure()
             << "element " << i << " of " << str(actual.shape) << " is " << a << ", expected " << e
             << " within " << bound;
  }
  return ::testing::AssertionSuccess();
}

AttentionReference::AttentionReference(const AttentionCase& c, AttentionPrecision precision)
    : out(c.queries(), c.q_cols()), lse(c.queries(), c.heads.q), c_(c), precision_(precision) {
  forward();
}

/// f(head, query row, the key rows it sees) for every query and head.
template <class F>
void AttentionReference::for_queries(F&& f) const {
  for (std::int64_t query = 0; query < c_.queries(); ++query) {
    std::vector<std::int64_t> seen;
    c_.rows.for_keys_of(query, [&](std::int64_t key) { seen.push_back(key); });
    for (std::int64_t h = 0; h < c_.heads.q; ++h) f(h, query, seen);
  }
}

double AttentionReference::dot(const Tensor& x, std::int64_t x_row, std::int64_t x_head,
                               const Tensor& y, std::int64_t y_row, std::int64_t y_head) const {
  const float* a = x.as<float>() + x_row * x.stride + x_head * c_.heads.dim;
  const float* b = y.as<float>() + y_row * y.stride + y_head * c_.heads.dim;
  double sum = 0;
  for (std::int64_t d = 0; d < c_.heads.dim; ++d) sum += double(a[d]) * double(b[d]);
  return sum;
}

double AttentionReference::score(std::int64_t query, std::int64_t head, std::int64_t key) const {
  return dot(c_.q, query, head, c_.k(), key, head / (c_.heads.q / c_.heads.kv)) /
         std::sqrt(double(c_.heads.dim));
}

void AttentionReference::forward() {
  const std::int64_t dim = c_.heads.dim, group = c_.heads.q / c_.heads.kv;
  const Tensor v = c_.v();
  for_queries([&](std::int64_t h, std::int64_t i, const std::vector<std::int64_t>& seen) {
    std::vector<double> weights;
    double max = -1e300, largest = 0, sum = 0;
    for (const std::int64_t key : seen) {
      const double s = score(i, h, key);
      weights.push_back(s);
      max = std::max(max, s);
      largest = std::max(largest, std::abs(s));
    }
    for (double& w : weights) sum += w = std::exp(w - max);
    const double scores = largest * kScoreError;
    lse.add(i * c_.heads.q + h, max + std::log(sum), precision_.sums + scores);
    for (std::size_t j = 0; j < seen.size(); ++j) {
      const float* value = v.as<float>() + seen[j] * v.stride + h / group * dim;
      for (std::int64_t d = 0; d < dim; ++d) {
        const double term = weights[j] / sum * double(value[d]);
        out.add((i * c_.heads.q + h) * dim + d, term,
                std::abs(term) * (precision_.weights + precision_.sums + 2 * scores));
      }
    }
  });
}

void AttentionReference::backward(const HostArray& given_out, const HostArray& given_lse) {
  const std::int64_t dim = c_.heads.dim, group = c_.heads.q / c_.heads.kv;
  dq = Bounded(c_.queries(), c_.q_cols());
  dk = dv = Bounded(c_.keys(), c_.kv_cols());
  const double scale = 1 / std::sqrt(double(dim));
  const Tensor k = c_.k(), v = c_.v();
  for_queries([&](std::int64_t h, std::int64_t i, const std::vector<std::int64_t>& seen) {
    const std::int64_t at = (i * c_.heads.q + h) * dim;
    const double delta = dot(c_.dout, i, h, given_out, i, h);
    double dout_size = 0;
    for (std::int64_t d = 0; d < dim; ++d) dout_size += std::abs(double(c_.dout[at + d])) * 4;
    for (const std::int64_t key : seen) {
      const double s = score(i, h, key);
      const double p = std::exp(s - double(given_lse[i * c_.heads.q + h]));
      const double ds = p * (dot(c_.dout, i, h, v, key, h / group) - delta) * scale;
      const double weight_error = precision_.weights + precision_.sums + std::abs(s) * kScoreError;
      const double ds_error = std::abs(ds) * weight_error + precision_.sums * p * dout_size * scale;
      const std::int64_t from = key * c_.kv_cols() + h / group * dim;
      const float* key_row = k.as<float>() + key * k.stride + h / group * dim;
      for (std::int64_t d = 0; d < dim; ++d) {
        const double dout_term = double(c_.dout[at + d]), q = double(c_.q[at + d]);
        dv.add(from + d, p * dout_term, std::abs(p * dout_term) * weight_error);
        dk.add(from + d, ds * q, ds_error * std::abs(q));
        dq.add(at + d, ds * double(key_row[d]), ds_error * std::abs(double(key_row[d])));
      }
    }
  });
}

}  // namespace lacuna::testing
