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
  check_gradient({2, 2, 3, Mask::bidirectional, {whole_segment(4), whole_segment(1)}});
  check_gradient({2, 2, 3, Mask::causal, {whole_segment(4), whole_segment(1)}});
}

TEST(AttentionGradient, OfGroupedQueries) {
  check_gradient({4, 2, 2, Mask::bidirectional, {whole_segment(5)}});
  check_gradient({4, 1, 2, Mask::causal, {whole_segment(5)}});
}

TEST(AttentionGradient, OfSomeQueries) {
  check_gradient({2, 1, 3, Mask::bidirectional, {{4, {2}}, {3, {}}, {2, {1, 0}}}});
  check_gradient({2, 1, 3, Mask::causal, {{4, {2}}, {3, {}}, {2, {1, 0}}}});
}

TEST(AttentionGradient, OfTwoIntervals) {
  AttentionRows rows = random_rows(3, {whole_segment(5), {4, {0, 0, 0}}});
  add_block_diffusion(rows, 4, 2);
  check_gradient({2, 1, 3, rows});
}

}  // namespace
}  // namespace lacuna::testing
