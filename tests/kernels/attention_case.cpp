#include "tests/kernels/attention_case.h"

#include <cmath>
#include <numeric>

namespace lacuna::testing {
namespace {

std::int64_t count_queries(const std::vector<Segment>& segments) {
  std::int64_t n = 0;
  for (const Segment& s : segments) n += std::int64_t(s.queries.size());
  return n;
}
std::int64_t count_keys(const std::vector<Segment>& segments) {
  std::int64_t n = 0;
  for (const Segment& s : segments) n += s.keys;
  return n;
}

}  // namespace

Segment whole_segment(std::int64_t keys) {
  Segment s{keys, std::vector<std::int32_t>(std::size_t(keys))};
  std::iota(s.queries.begin(), s.queries.end(), 0);
  return s;
}

AttentionCase::AttentionCase(std::int64_t heads_, std::int64_t kv_heads_, std::int64_t dim_,
                             MaskKind mask, const std::vector<Segment>& segments,
                             double score_scale)
    : heads(heads_),
      kv_heads(kv_heads_),
      dim(dim_),
      queries(count_queries(segments)),
      keys(count_keys(segments)),
      query_offsets(Shape{std::int64_t(segments.size()) + 1}),
      key_offsets(Shape{std::int64_t(segments.size()) + 1}),
      positions(Shape{queries}),
      q(normal({queries, heads * dim}, 1, score_scale, 3)),
      kv(normal({keys, 2 * kv_heads * dim}, 2, 1, 5)),
      dout(normal({queries, heads * dim}, 3)) {
  query_offsets[0] = key_offsets[0] = 0;
  std::int64_t row = 0;
  for (std::size_t s = 0; s < segments.size(); ++s) {
    const auto i = std::int64_t(s);
    for (const std::int32_t position : segments[s].queries) positions[row++] = position;
    query_offsets[i + 1] = std::int32_t(row);
    key_offsets[i + 1] = key_offsets[i] + std::int32_t(segments[s].keys);
  }
  shape.heads = heads;
  shape.kv_heads = kv_heads;
  shape.head_dim = dim;
  shape.mask = mask;
  shape.query_offsets = query_offsets;
  shape.key_offsets = key_offsets;
  shape.query_positions = positions;
  name = str(heads, "/", kv_heads, " heads of ", dim, mask == MaskKind::causal ? ", causal" : "",
             ", ", queries, " queries, ", keys, " keys, ", segments.size(), " segments");
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
  for (std::int64_t s = 0; s + 1 < c.query_offsets.count(); ++s) {
    for (std::int64_t i = c.query_offsets[s]; i < c.query_offsets[s + 1]; ++i) {
      const std::int64_t first = c.key_offsets[s];
      const std::int64_t seen =
          c.shape.mask == MaskKind::causal ? c.positions[i] + 1 : c.key_offsets[s + 1] - first;
      for (std::int64_t h = 0; h < c.heads; ++h) {
        const std::int64_t column = h * dim, kv_column = h / group * dim;
        const float* q = row_of(c.q, i, column);
        const float* dout = row_of(c.dout, i, column);
        std::vector<double> p(static_cast<std::size_t>(seen));
        double max = -1e300, sum = 0, delta = 0;
        for (std::int64_t j = 0; j < seen; ++j) {
          double score = 0;
          for (std::int64_t d = 0; d < dim; ++d)
            score += double(q[d]) * double(row_of(c.k(), first + j, kv_column)[d]);
          p[std::size_t(j)] = score * scale;
          max = std::max(max, score * scale);
        }
        for (double& x : p) sum += x = std::exp(x - max);
        e.lse.at(i, h) = max + std::log(sum);
        for (std::int64_t d = 0; d < dim; ++d) {
          double out = 0;
          for (std::int64_t j = 0; j < seen; ++j)
            out += p[std::size_t(j)] / sum * double(row_of(c.v(), first + j, kv_column)[d]);
          e.out.at(i, column + d) = out;
          delta += out * double(dout[d]);
        }
        for (std::int64_t j = 0; j < seen; ++j) {
          const double probability = p[std::size_t(j)] / sum;
          double dp = 0;
          for (std::int64_t d = 0; d < dim; ++d) {
            dp += double(dout[d]) * double(row_of(c.v(), first + j, kv_column)[d]);
            e.dv.at(first + j, kv_column + d) += probability * double(dout[d]);
          }
          const double ds = probability * (dp - delta) * scale;
          for (std::int64_t d = 0; d < dim; ++d) {
            e.dq.at(i, column + d) += ds * double(row_of(c.k(), first + j, kv_column)[d]);
            e.dk.at(first + j, kv_column + d) += ds * double(q[d]);
          }
        }
      }
    }
  }
  return e;
}

}  // namespace lacuna::testing
