// What the CPU backend alone is asked: values of PyTorch, gradients by differences, error messages.
#include "core/tensor_of.h"
#include "tests/kernels/attention_backend.h"
#include "tests/kernels/support.h"

namespace lacuna::testing {

// Tiles are 48 queries by 256 keys forward and 48 by 128 backward.
std::vector<AttentionBackend> attention_backends() {
  const std::vector<std::vector<std::int64_t>> lengths = {
      {1}, {47}, {49}, {127}, {129}, {255}, {257}, {1, 17, 1, 130, 5, 2}};
  const AttentionBackend f32 = {.name = "cpu_f32",
                                .dtype = DType::f32,
                                .precision = {.sums = 2e-6},
                                .heads = {{2, 1, 16}, {1, 1, 16}, {4, 2, 5}},
                                .tile = 128,
                                .gap = 3,
                                .bidirectional = lengths,
                                .causal = lengths,
                                .blocks = {1, 4, 32, 200},
                                .other_dims = {1, 5, 6, 8, 24, 33, 64, 80, 256},
                                .random_cases = 7,
                                .on_each = on_every_backend};
  AttentionBackend bf16 = f32;
  bf16.name = "cpu_bf16";
  bf16.dtype = DType::bf16;
  bf16.precision = {.sums = 5e-5, .weights = 0x1p-8};  // as the CUDA kernels' that round weights
  bf16.on_each = [](const auto& test) { on_every_instruction_set(test); };
  return {f32, bf16};
}

namespace {

class AttentionGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(AttentionGolden, AgreesWithPyTorch) {
  const Golden golden(str("kernels_attention_", GetParam()));
  AttentionShape shape;
  shape.heads = std::stoll(golden.metadata("heads"));
  shape.kv_heads = std::stoll(golden.metadata("kv_heads"));
  shape.head_dim = std::stoll(golden.metadata("head_dim"));
  shape.query_offsets = golden["query_offsets"];
  shape.key_offsets = golden["key_offsets"];
  const bool causal = golden.metadata("causal") == "1";
  std::vector<KeyIntervals> query_keys;
  for (std::int64_t s = 0; s + 1 < shape.query_offsets.count(); ++s) {
    const auto *queries = shape.query_offsets.as<std::int32_t>(),
               *keys = shape.key_offsets.as<std::int32_t>();
    for (std::int64_t i = queries[s]; i < queries[s + 1]; ++i)
      query_keys.push_back(causal ? causal_keys(keys[s], golden["positions"].as<std::int32_t>()[i])
                                  : bidirectional_keys(keys[s], keys[s + 1]));
  }
  shape.query_keys = tensor_of(query_keys);
  on_every_backend([&](CpuOps& ops) {
    const Tensor q = golden["q"], k = golden["k"], v = golden["v"];
    Array<float> out(q.shape), lse(Shape{q.rows(), shape.heads}), dq(q.shape, 2), dk(k.shape, 3),
        dv(v.shape);
    ops.attention_forward(out, lse, q, k, v, shape);
    EXPECT_TRUE(is_close(out, golden["out"], 2e-6, 2e-6));
    EXPECT_TRUE(is_close(lse, golden["lse"], 1e-6, 1e-6));
    ops.attention_backward(dq, dk, dv, golden["dout"], out, lse, q, k, v, shape);
    EXPECT_TRUE(is_close(dq, golden["dq"], 5e-6, 5e-6));
    EXPECT_TRUE(is_close(dk, golden["dk"], 5e-6, 5e-6));
    EXPECT_TRUE(is_close(dv, golden["dv"], 5e-6, 5e-6));
    EXPECT_TRUE(out.guards_hold() && lse.guards_hold());
    EXPECT_TRUE(dq.guards_hold() && dk.guards_hold() && dv.guards_hold());
  });
}
INSTANTIATE_TEST_SUITE_P(Cases, AttentionGolden,
                         ::testing::Values("full", "causal", "some_full", "some_causal"));

void check_gradient(Heads heads, const AttentionRows& rows) {
  AttentionCase c(heads, rows, DType::f32);
  const AttentionShape shape = c.shape();
  SCOPED_TRACE(c.name());
  on_every_instruction_set([&](CpuOps& ops) {
    Array<float> out({c.queries(), c.q_cols()}), lse({c.queries(), c.heads.q});
    const auto loss = [&] {
      ops.attention_forward(out, lse, c.q, c.k(), c.v(), shape);
      return weighted_sum(out, c.dout);
    };
    loss();
    Array<float> dq({c.queries(), c.q_cols()}), dk({c.keys(), c.kv_cols()}),
        dv({c.keys(), c.kv_cols()});
    ops.attention_backward(dq, dk, dv, c.dout, out, lse, c.q, c.k(), c.v(), shape);
    expect_gradient("dq", c.q, dq, loss);
    expect_gradient("dk", c.k(), dk, loss);
    expect_gradient("dv", c.v(), dv, loss);
  });
}

TEST(AttentionGradient, OfWholeSegments) {
  check_gradient({2, 2, 3}, masked_rows(Mask::bidirectional, {whole_segment(4), whole_segment(1)}));
  check_gradient({2, 2, 3}, masked_rows(Mask::causal, {whole_segment(4), whole_segment(1)}));
}

TEST(AttentionGradient, OfGroupedQueries) {
  check_gradient({4, 2, 2}, masked_rows(Mask::bidirectional, {whole_segment(5)}));
  check_gradient({4, 1, 2}, masked_rows(Mask::causal, {whole_segment(5)}));
}

TEST(AttentionGradient, OfSomeQueries) {
  check_gradient({2, 1, 3}, masked_rows(Mask::bidirectional, {{4, {2}}, {3, {}}, {2, {1, 0}}}));
  check_gradient({2, 1, 3}, masked_rows(Mask::causal, {{4, {2}}, {3, {}}, {2, {1, 0}}}));
}

TEST(AttentionGradient, OfTwoIntervals) {
  AttentionRows rows = random_rows(3, {whole_segment(5), {4, {0, 0, 0}}});
  add_block_diffusion(rows, 4, 2);
  check_gradient({2, 1, 3}, rows);
}

TEST(CpuAttention, NamesWhatIsWrong) {
  CpuOps ops(1);
  const AttentionCase c({4, 2, 4}, masked_rows(Mask::causal, {whole_segment(3), whole_segment(2)}),
                        DType::f32);
  const AttentionShape right = c.shape();
  Array<float> out({5, 16}), lse({5, 4});
  const auto message = [&](const AttentionShape& shape) {
    return error_of([&] { ops.attention_forward(out, lse, c.q, c.k(), c.v(), shape); });
  };
  EXPECT_EQ(message(right), "");
  AttentionShape s = right;
  s.kv_heads = 3;
  EXPECT_EQ(message(s), "attention_forward: 4 query heads cannot share 3 key heads evenly");
  s = right;
  s.head_dim = 5;
  EXPECT_EQ(message(s), "attention_forward: q is [5,16] f32; it must be [5,20] f32");
  List<std::int32_t> short_offsets{0, 3, 4}, decreasing{0, 6, 5}, one{0, 5};
  s = right;
  s.key_offsets = short_offsets;
  EXPECT_EQ(message(s), "attention_forward: key_offsets runs from 0 to 4; it must run from 0 to 5");
  s.key_offsets = decreasing;
  EXPECT_EQ(message(s), "attention_forward: key_offsets must not decrease");
  s.key_offsets = one;
  EXPECT_EQ(message(s), "attention_forward: key_offsets is [2] i32; it must be [3] i32");
  s = right;
  List<std::int32_t> keyless{0, 5, 5};
  s.key_offsets = keyless;
  EXPECT_EQ(message(s), "attention_forward: segment 1 has 2 queries and no keys");
  s = right;
  const auto message_of = [&](KeyIntervals last) {
    std::vector<KeyIntervals> intervals = c.rows.query_keys;
    intervals[4] = last;
    s.query_keys = tensor_of(intervals);
    return message(s);
  };
  EXPECT_EQ(message_of({3, 4, 4, 5}), "");
  EXPECT_EQ(
      message_of({3, 6, 6, 6}),
      "attention_forward: query_keys[4] is [3,6) and [6,6); they must ascend within [3,5), the "
      "keys of the query's segment, and the first must not be empty");
  for (const KeyIntervals wrong : {KeyIntervals{2, 4, 4, 4}, KeyIntervals{3, 3, 3, 5},
                                   KeyIntervals{4, 5, 3, 4}, KeyIntervals{3, 4, 5, 4}})
    EXPECT_TRUE(contains(message_of(wrong), "query_keys[4] is ")) << message_of(wrong);
  s.query_keys = short_offsets;
  EXPECT_EQ(message(s), "attention_forward: query_keys is [3] i32; it must be [5,4] i32");
  Array<float> narrow({5, 15}), few({5, 3});
  EXPECT_EQ(error_of([&] { ops.attention_forward(narrow, lse, c.q, c.k(), c.v(), right); }),
            "attention_forward: out is [5,15] f32; it must be [5,16] f32");
  EXPECT_EQ(error_of([&] { ops.attention_forward(out, few, c.q, c.k(), c.v(), right); }),
            "attention_forward: lse is [5,3] f32; it must be [5,4] f32");
}

}  // namespace
}  // namespace lacuna::testing
