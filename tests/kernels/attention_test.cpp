#include <cmath>
#include <limits>

#include "tests/kernels/attention_case.h"

namespace lacuna::testing {
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

/// Forward and backward against f64, on every backend, and twice.
void check(AttentionCase c) {
  SCOPED_TRACE(c.name);
  AttentionValues e = expected_attention(c);
  // A gradient with respect to a key sums over the queries that see it.
  const double tolerance = 1e-5, sums = 1e-5 * std::sqrt(1 + double(c.queries));
  on_every_backend([&](CpuOps& ops) {
    Array<float> out({c.queries, c.heads * c.dim}), lse({c.queries, c.heads});
    ops.attention_forward(out, lse, c.q, c.k(), c.v(), c.shape);
    EXPECT_TRUE(is_close(out, e.out, tolerance, tolerance));
    EXPECT_TRUE(is_close(lse, e.lse, 2e-6, 2e-6));
    Array<float> dq({c.queries, c.heads * c.dim}, 3), dkv({c.keys, 2 * c.kv_heads * c.dim}, 4);
    const auto backward = [&](Array<float>& queries, Array<float>& keys) {
      const std::int64_t columns = c.kv_heads * c.dim;
      ops.attention_backward(queries, keys.tensor().column_range(0, columns),
                             keys.tensor().column_range(columns, columns), c.dout, out, lse, c.q,
                             c.k(), c.v(), c.shape);
    };
    backward(dq, dkv);
    EXPECT_TRUE(is_close(dq, e.dq, tolerance, tolerance));
    const Tensor both = dkv;
    EXPECT_TRUE(is_close(both.column_range(0, c.kv_heads * c.dim), e.dk, tolerance, sums));
    EXPECT_TRUE(
        is_close(both.column_range(c.kv_heads * c.dim, c.kv_heads * c.dim), e.dv, tolerance, sums));
    EXPECT_TRUE(out.guards_hold() && lse.guards_hold() && dq.guards_hold() && dkv.guards_hold());
    Array<float> dq_again({c.queries, c.heads * c.dim}), dkv_again({c.keys, dkv.cols()});
    backward(dq_again, dkv_again);
    EXPECT_TRUE(dq_again.same_bits(dq) && dkv_again.same_bits(dkv)) << "differs from run to run";
  });
}

const Mask kMasks[] = {Mask::bidirectional, Mask::causal};

TEST(Attention, OfOddHeadWidths) {
  for (const std::int64_t dim : {1, 5, 8, 24, 33, 64})
    for (const Mask mask : kMasks) check({2, 1, dim, mask, {whole_segment(19)}});
}

// Tiles are 48 queries by 256 keys forward and 48 by 128 backward.
TEST(Attention, OfLengthsAroundTheTiles) {
  for (const std::int64_t length : {1, 47, 49, 127, 129, 255, 257})
    for (const Mask mask : kMasks) check({1, 1, 16, mask, {whole_segment(length)}});
}

TEST(Attention, OfGroupedQueries) {
  for (const Mask mask : kMasks) {
    check({6, 1, 8, mask, {whole_segment(50)}});
    check({6, 2, 8, mask, {whole_segment(50)}});
    check({6, 3, 8, mask, {whole_segment(50), whole_segment(3)}});
  }
}

TEST(Attention, OfManySegments) {
  std::vector<Segment> segments;
  for (const std::int64_t n : {1, 17, 1, 130, 5, 2}) segments.push_back(whole_segment(n));
  for (const Mask mask : kMasks) check({4, 2, 12, mask, segments});
}

TEST(Attention, OfSomeQueriesInAnyOrder) {
  const std::vector<Segment> segments = {
      {300, {299, 0, 128, 127, 3}}, {40, {}}, {0, {}}, {7, {6}}, {129, {128, 128, 0}}};
  for (const Mask mask : kMasks) check({2, 1, 16, mask, segments});
}

// Random pairs of intervals against the reference, which knows no tiles: lengths over several tiles
// of queries and of keys, many threads' pieces.
TEST(Attention, OfRandomIntervals) {
  for (const std::uint64_t seed : {1u, 2u, 3u, 4u, 5u, 6u}) {
    const std::vector<Segment> segments = {
        whole_segment(300), {700, {0, 0, 0}}, {1, {0, 0}}, {40, {}}, whole_segment(63)};
    check({2, 1, 16, random_rows(seed, segments)});
  }
  check({4, 2, 5, random_rows(7, {whole_segment(520)})});
}

TEST(Attention, OfBlockDiffusion) {
  for (const int block : {1, 4, 32, 200}) {
    AttentionRows rows;
    add_block_diffusion(rows, 150, block);
    add_block_diffusion(rows, 3, block);
    check({2, 1, 16, rows});
  }
}

// Tiles that nobody sees are not read: what lies there may be anything.
TEST(Attention, DoesNotReadTilesOutsideTheHull) {
  on_every_backend([](CpuOps& ops) {
    AttentionRows rows;
    rows.add(1024, std::vector<KeyIntervals>(100, KeyIntervals{256, 300, 800, 900}));
    AttentionCase c(1, 1, 8, rows);
    Array<float> out({100, 8}), lse({100, 1}), again({100, 8}), again_lse({100, 1});
    ops.attention_forward(out, lse, c.q, c.k(), c.v(), c.shape);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (std::int64_t row = 0; row < 1024; ++row)
      if (row / 256 == 0 || row / 256 == 2)
        for (std::int64_t col = 0; col < 16; ++col) c.kv.at(row, col) = nan;
    ops.attention_forward(again, again_lse, c.q, c.k(), c.v(), c.shape);
    EXPECT_TRUE(again.same_bits(out) && again_lse.same_bits(lse));
  });
}

TEST(Attention, OfLargeScores) {
  // Scores of some hundreds: all weight on few keys, and nothing overflows.
  for (const Mask mask : kMasks) {
    AttentionCase c(1, 1, 16, mask, {whole_segment(140)}, 100);
    AttentionValues e = expected_attention(c);
    on_every_instruction_set([&](CpuOps& ops) {
      Array<float> out({c.queries, 16}), lse({c.queries, 1});
      ops.attention_forward(out, lse, c.q, c.k(), c.v(), c.shape);
      // Errors of the scores, of order 300 2^-23, become relative errors of the weights.
      EXPECT_TRUE(is_close(out, e.out, 1e-3, 1e-3));
      EXPECT_TRUE(is_close(lse, e.lse, 1e-6, 1e-4));
    });
  }
}

TEST(Attention, OfNothing) {
  on_every_backend([](CpuOps& ops) {
    AttentionCase c(2, 1, 4, Mask::bidirectional, {{5, {}}, {0, {}}});
    Array<float> out(Shape{0, 8}), lse(Shape{0, 2}), dq(Shape{0, 8}), dkv({5, 8});
    ops.attention_forward(out, lse, c.q, c.k(), c.v(), c.shape);
    ops.attention_backward(dq, dkv.tensor().column_range(0, 4), dkv.tensor().column_range(4, 4),
                           c.dout, out, lse, c.q, c.k(), c.v(), c.shape);
    // No query sees these keys.
    for (std::int64_t i = 0; i < dkv.count(); ++i) EXPECT_EQ(dkv[i], 0.0f);
  });
}

// Causal attention must not see what comes later, not even what is not a number.
TEST(Attention, CausalIgnoresLaterKeys) {
  on_every_backend([](CpuOps& ops) {
    AttentionCase c(1, 1, 8, Mask::causal, {whole_segment(200)});
    Array<float> out({200, 8}), lse({200, 1}), changed({200, 8}), changed_lse({200, 1});
    ops.attention_forward(out, lse, c.q, c.k(), c.v(), c.shape);
    for (std::int64_t row = 150; row < 200; ++row)
      for (std::int64_t col = 0; col < 16; ++col) c.kv.at(row, col) = float(row + col);
    ops.attention_forward(changed, changed_lse, c.q, c.k(), c.v(), c.shape);
    for (std::int64_t row = 0; row < 150; ++row)
      for (std::int64_t col = 0; col < 8; ++col)
        ASSERT_EQ(out.at(row, col), changed.at(row, col)) << row;
    EXPECT_NE(out.at(150, 0), changed.at(150, 0));
  });
}

// Full attention does not know the order of keys: shuffled keys and values, the same result.
TEST(Attention, FullIgnoresTheOrderOfKeys) {
  CpuOps ops(2);
  AttentionCase c(2, 1, 8, Mask::bidirectional, {whole_segment(150)});
  Array<float> out({150, 16}), lse({150, 2}), turned({150, 16}), turned_lse({150, 2});
  ops.attention_forward(out, lse, c.q, c.k(), c.v(), c.shape);
  Array<float> reversed = c.kv;
  for (std::int64_t row = 0; row < 150; ++row)
    for (std::int64_t col = 0; col < 16; ++col) reversed.at(row, col) = c.kv.at(149 - row, col);
  c.kv = reversed;
  ops.attention_forward(turned, turned_lse, c.q, c.k(), c.v(), c.shape);
  EXPECT_TRUE(is_close(turned, out, 1e-5, 1e-6));
  EXPECT_TRUE(is_close(turned_lse, lse, 1e-6, 1e-6));
}

TEST(Attention, NamesWhatIsWrong) {
  CpuOps ops(1);
  AttentionCase c(4, 2, 4, Mask::causal, {whole_segment(3), whole_segment(2)});
  Array<float> out({5, 16}), lse({5, 4});
  const auto message = [&](const AttentionShape& shape) {
    return error_of([&] { ops.attention_forward(out, lse, c.q, c.k(), c.v(), shape); });
  };
  EXPECT_EQ(message(c.shape), "");
  AttentionShape s = c.shape;
  s.kv_heads = 3;
  EXPECT_EQ(message(s), "attention_forward: 4 query heads cannot share 3 key heads evenly");
  s = c.shape;
  s.head_dim = 5;
  EXPECT_EQ(message(s), "attention_forward: q is [5,16] f32; it must be [5,20] f32");
  List<std::int32_t> short_offsets{0, 3, 4}, decreasing{0, 6, 5}, one{0, 5};
  s = c.shape;
  s.key_offsets = short_offsets;
  EXPECT_EQ(message(s), "attention_forward: key_offsets runs from 0 to 4; it must run from 0 to 5");
  s.key_offsets = decreasing;
  EXPECT_EQ(message(s), "attention_forward: key_offsets must not decrease");
  s.key_offsets = one;
  EXPECT_EQ(message(s), "attention_forward: key_offsets is [2] i32; it must be [3] i32");
  s = c.shape;
  List<std::int32_t> keyless{0, 5, 5};
  s.key_offsets = keyless;
  EXPECT_EQ(message(s), "attention_forward: segment 1 has 2 queries and no keys");
  s = c.shape;
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
  EXPECT_EQ(error_of([&] { ops.attention_forward(narrow, lse, c.q, c.k(), c.v(), c.shape); }),
            "attention_forward: out is [5,15] f32; it must be [5,16] f32");
  EXPECT_EQ(error_of([&] { ops.attention_forward(out, few, c.q, c.k(), c.v(), c.shape); }),
            "attention_forward: lse is [5,3] f32; it must be [5,4] f32");
}

}  // namespace
}  // namespace lacuna::testing
