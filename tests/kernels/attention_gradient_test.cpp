#include "tests/kernels/attention_case.h"

namespace lacuna::testing {
namespace {

void check_gradient(AttentionCase c) {
  SCOPED_TRACE(c.name);
  on_every_instruction_set([&](CpuOps& ops) {
    Array<float> out({c.queries, c.heads * c.dim}), lse({c.queries, c.heads});
    const auto loss = [&] {
      ops.attention_forward(out, lse, c.q, c.k(), c.v(), c.shape);
      return weighted_sum(out, c.dout);
    };
    loss();
    Array<float> dq({c.queries, c.heads * c.dim}), dk({c.keys, c.kv_heads * c.dim}),
        dv({c.keys, c.kv_heads * c.dim});
    ops.attention_backward(dq, dk, dv, c.dout, out, lse, c.q, c.k(), c.v(), c.shape);
    expect_gradient("dq", c.q, dq, loss);
    expect_gradient("dk", c.k(), dk, loss);
    expect_gradient("dv", c.v(), dv, loss);
  });
}

TEST(AttentionGradient, OfWholeSegments) {
  check_gradient({2, 2, 3, MaskKind::full, {whole_segment(4), whole_segment(1)}});
  check_gradient({2, 2, 3, MaskKind::causal, {whole_segment(4), whole_segment(1)}});
}

TEST(AttentionGradient, OfGroupedQueries) {
  check_gradient({4, 2, 2, MaskKind::full, {whole_segment(5)}});
  check_gradient({4, 1, 2, MaskKind::causal, {whole_segment(5)}});
}

TEST(AttentionGradient, OfSomeQueries) {
  check_gradient({2, 1, 3, MaskKind::full, {{4, {2}}, {3, {}}, {2, {1, 0}}}});
  check_gradient({2, 1, 3, MaskKind::causal, {{4, {2}}, {3, {}}, {2, {1, 0}}}});
}

}  // namespace
}  // namespace lacuna::testing
