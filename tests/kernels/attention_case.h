#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tests/kernels/support.h"
#include "tests/support/attention_rows.h"

namespace lacuna::testing {

/// Inputs of an attention, in packed tensors as a model has them: q, k and v are columns of one,
/// and so are their gradients.
struct AttentionCase {
  AttentionCase(std::int64_t heads, std::int64_t kv_heads, std::int64_t dim, AttentionRows rows,
                double score_scale = 1);
  AttentionCase(std::int64_t h, std::int64_t k, std::int64_t d, Mask mask,
                const std::vector<Segment>& segments, double score_scale = 1)
      : AttentionCase(h, k, d, masked_rows(mask, segments), score_scale) {}
  AttentionCase(const AttentionCase&) = delete;  // shape points into this
  AttentionCase& operator=(const AttentionCase&) = delete;

  std::int64_t heads, kv_heads, dim, queries, keys;
  AttentionRows rows;
  Array<float> q, kv, dout;
  AttentionShape shape;
  std::string name;

  Tensor k() { return kv.tensor().column_range(0, kv_heads * dim); }
  Tensor v() { return kv.tensor().column_range(kv_heads * dim, kv_heads * dim); }
};

/// What ops.h says, in f64, row by row.
struct AttentionValues {
  Array<double> out, lse, dq, dk, dv;
};
AttentionValues expected_attention(AttentionCase& c);

}  // namespace lacuna::testing
