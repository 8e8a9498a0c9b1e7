#include "tests/kernels/attention_case.h"

#include <cmath>
#include <utility>

#include "core/tensor_of.h"

namespace lacuna::testing {

AttentionCase::AttentionCase(std::int64_t heads_, std::int64_t kv_heads_, std::int64_t dim_,
                             AttentionRows rows_, double score_scale)
    : heads(heads_),
      kv_heads(kv_heads_),
      dim(dim_),
      queries(rows_.queries()),
      keys(rows_.keys()),
      rows(std::move(rows_)),
      q(normal({queries, heads * dim}, 1, score_scale, 3)),
      kv(normal({keys, 2 * kv_heads * dim}, 2, 1, 5)),
      dout(normal({queries, heads * dim}, 3)) {
  shape.heads = heads;
  shape.kv_heads = kv_heads;
  shape.head_dim = dim;
  shape.query_offsets = tensor_of(rows.query_offsets);
  shape.key_offsets = tensor_of(rows.key_offsets);
  shape.query_keys = tensor_of(rows.query_keys);
  name = str(heads, "/", kv_heads, " heads of ", dim, ", ", queries, " queries, ", keys, " keys, ",
             rows.query_offsets.size() - 1, " segments");
}

AttentionValues expected_attention(AttentionCase& c) {
  const std::int64_t group = c.heads / c.kv_heads, dim = c.dim;
  AttentionValues e{Array<double>({c.queries, c.heads * dim}), Array<double>({c.queries, c.heads}),
                    Array<double>({c.queries, c.heads * dim}),
                    Array<double>({c.keys, c.kv_heads * dim}),
                    Array<double>({c.keys, c.kv_heads * dim})};
  e.dq.set(0);
  e.dk.set(0);
  e.dv.set(0);
  const double scale = 1 / std::sqrt(double(dim));
  const auto row_of = [](const Tensor& t, std::int64_t row, std::int64_t column) {
    return t.as<float>() + row * t.stride + column;
  };
  for (std::int64_t i = 0; i < c.queries; ++i) {
    std::vector<std::int64_t> seen;
    c.rows.for_keys_of(i, [&](std::int64_t key) { seen.push_back(key); });
    for (std::int64_t h = 0; h < c.heads; ++h) {
      const std::int64_t column = h * dim, kv_column = h / group * dim;
      const float* q = row_of(c.q, i, column);
      const float* dout = row_of(c.dout, i, column);
      std::vector<double> p;
      double max = -1e300, sum = 0, delta = 0;
      for (const std::int64_t key : seen) {
        double score = 0;
        for (std::int64_t d = 0; d < dim; ++d)
          score += double(q[d]) * double(row_of(c.k(), key, kv_column)[d]);
        p.push_back(score * scale);
        max = std::max(max, score * scale);
      }
      for (double& x : p) sum += x = std::exp(x - max);
      e.lse.at(i, h) = max + std::log(sum);
      for (std::int64_t d = 0; d < dim; ++d) {
        double out = 0;
        for (std::size_t j = 0; j < seen.size(); ++j)
          out += p[j] / sum * double(row_of(c.v(), seen[j], kv_column)[d]);
        e.out.at(i, column + d) = out;
        delta += out * double(dout[d]);
      }
      for (std::size_t j = 0; j < seen.size(); ++j) {
        const std::int64_t key = seen[j];
        const double probability = p[j] / sum;
        double dp = 0;
        for (std::int64_t d = 0; d < dim; ++d) {
          dp += double(dout[d]) * double(row_of(c.v(), key, kv_column)[d]);
          e.dv.at(key, kv_column + d) += probability * double(dout[d]);
        }
        const double ds = probability * (dp - delta) * scale;
        for (std::int64_t d = 0; d < dim; ++d) {
          e.dq.at(i, column + d) += ds * double(row_of(c.k(), key, kv_column)[d]);
          e.dk.at(key, kv_column + d) += ds * double(q[d]);
        }
      }
    }
  }
  return e;
}

}  // namespace lacuna::testing
