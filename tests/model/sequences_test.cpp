#include "model/sequences.h"

#include "tests/model/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

constexpr ModelLimits kLimits{10, 2, 4, false};

std::string refusal(std::vector<std::int32_t> offsets, std::vector<std::int32_t> logit_rows) {
  return error_of([&] { check(Sequences{std::move(offsets), std::move(logit_rows)}, kLimits, 8); });
}

TEST(Sequences, Equal) {
  const Sequences s = Sequences::equal(3, 5);
  EXPECT_EQ(s.offsets, (std::vector<std::int32_t>{0, 5, 10, 15}));
  EXPECT_EQ(s.count(), 3);
  EXPECT_EQ(s.rows(), 15);
  EXPECT_TRUE(s.logit_rows.empty());
  EXPECT_EQ(Sequences{}.rows(), 0);
}

TEST(Sequences, WhatIsRefused) {
  EXPECT_EQ(refusal({0, 8, 10}, {0, 5, 9}), "");
  EXPECT_TRUE(contains(refusal({}, {}), "offsets must begin with 0"));
  EXPECT_TRUE(contains(refusal({0}, {}), "offsets must begin with 0"));
  EXPECT_TRUE(contains(refusal({1, 4}, {}), "offsets must begin with 0"));
  EXPECT_TRUE(contains(refusal({0, 4, 4}, {}), "sequence 1 is empty"));
  EXPECT_TRUE(contains(refusal({0, 4, 2}, {}), "sequence 1 is empty"));
  EXPECT_TRUE(contains(refusal({0, 9}, {}), "has 9 tokens; model.max_seq_length is 8"));
  EXPECT_TRUE(contains(refusal({0, 6, 12}, {}), "12 tokens where at most 10"));
  EXPECT_TRUE(contains(refusal({0, 1, 2, 3}, {}), "3 of them where at most 2"));
  EXPECT_TRUE(contains(refusal({0, 8}, {0, 1, 2, 3, 4}), "5 logit rows where at most 4"));
  EXPECT_TRUE(contains(refusal({0, 8}, {8}), "logit row 8 of 8 rows"));
  EXPECT_TRUE(contains(refusal({0, 8}, {-1}), "logit row -1"));
  EXPECT_TRUE(contains(refusal({0, 8}, {3, 3}), "must increase; 3 follows 3"));
}

/// What a placer writes of so many rows and logit rows in so many segments.
struct Placed {
  using Values = std::vector<std::int32_t>;
  Values tokens, positions, keys, offsets, rows, row_positions, row_keys, row_offsets, key_offsets,
      cache_rows;

  Placed(std::size_t n, std::size_t m, std::size_t segments)
      : tokens(n, -1),
        positions(n, -1),
        keys(4 * n, -1),
        offsets(segments + 1, -1),
        rows(m, -1),
        row_positions(m, -1),
        row_keys(4 * m, -1),
        row_offsets(segments + 1, -1),
        key_offsets(segments + 1, -1),
        cache_rows(n, -1) {}
  SequenceTensors tensors() {
    const auto intervals = [](Values& v) {
      return Tensor(v.data(), {std::int64_t(v.size()) / 4, 4});
    };
    return {.tokens = tensor_of(tokens),
            .all = {.rows = {},
                    .positions = tensor_of(positions),
                    .keys = intervals(keys),
                    .offsets = tensor_of(offsets)},
            .logit = {.rows = tensor_of(rows),
                      .positions = tensor_of(row_positions),
                      .keys = intervals(row_keys),
                      .offsets = tensor_of(row_offsets)},
            .key_offsets = tensor_of(key_offsets),
            .cache_rows = tensor_of(cache_rows)};
  }
};

// Rows of two sequences, kept in parts of a cache of 20 rows. The gaps are segments without
// queries.
TEST(Sequences, PlacedInACache) {
  using Values = std::vector<std::int32_t>;
  const ModelLimits limits{10, 2, 4, false, 20};
  EXPECT_EQ(limits.segments(), 5);
  Sequences s{.offsets = {0, 2, 5}, .logit_rows = {1, 4}};
  s.positions = {6, 7, 0, 1, 2};
  s.keys = {{3, 11, 11, 11}, {3, 11, 11, 11}, {14, 17, 17, 17}, {14, 17, 17, 17}, {14, 15, 16, 17}};
  s.slabs = {{3, 12}, {14, 18}};
  s.cache_rows = {9, 10, 14, 15, 16};
  check(s, limits, 16);
  Placed to(5, 2, 5);
  SequencePlacer placer(limits, AttentionMask(ModelConfig{}));
  const Values ids = {1, 2, 3, 4, 5};
  placer.place(cpu(), to.tensors(), tensor_of(ids), s);
  EXPECT_EQ(placer.segments(s), 5);
  EXPECT_EQ(to.positions, s.positions);
  EXPECT_EQ(to.cache_rows, s.cache_rows);
  EXPECT_EQ(to.key_offsets, (Values{0, 3, 12, 14, 18, 20}));
  EXPECT_EQ(to.offsets, (Values{0, 0, 2, 2, 5, 5}));
  EXPECT_EQ(to.row_offsets, (Values{0, 0, 1, 1, 2, 2}));
  EXPECT_EQ(to.row_positions, (Values{7, 2}));

  const auto error = [&](auto change) {
    Sequences wrong = s;
    change(wrong);
    return error_of([&] { check(wrong, limits, 16); });
  };
  EXPECT_TRUE(contains(error([](Sequences& w) { w.slabs[1] = {11, 18}; }), "slab [11,18)"));
  EXPECT_TRUE(contains(error([](Sequences& w) { w.slabs[1] = {14, 21}; }), "a cache of 20"));
  EXPECT_TRUE(contains(error([](Sequences& w) { w.cache_rows[0] = 12; }), "kept in cache row 12"));
  EXPECT_TRUE(contains(error([](Sequences& w) { w.cache_rows.pop_back(); }), "4 cache rows of 5"));
  EXPECT_TRUE(contains(error([](Sequences& w) { w.keys[0].end0 = 13; }), "attends to [3,13)"));
}

TEST(Sequences, Placed) {
  using Values = std::vector<std::int32_t>;
  const Values ids = {7, 6, 5, 4, 3, 2, 1, 0, 8};
  const auto check = [&](const ModelConfig& config, const Values& query_keys,
                         const Values& logit_keys) {
    Placed to(9, 3, 3);
    SequencePlacer placer({9, 3, 3, false}, AttentionMask(config));
    placer.place(cpu(), to.tensors(), tensor_of(ids), {{0, 4, 6, 9}, {1, 3, 8}});
    EXPECT_EQ(to.tokens, ids);
    EXPECT_EQ(to.positions, (Values{0, 1, 2, 3, 0, 1, 0, 1, 2}));
    EXPECT_EQ(to.offsets, (Values{0, 4, 6, 9}));
    EXPECT_EQ(to.rows, (Values{1, 3, 8}));
    EXPECT_EQ(to.row_positions, (Values{1, 3, 2}));
    EXPECT_EQ(to.row_offsets, (Values{0, 2, 2, 3}));
    EXPECT_EQ(to.keys, query_keys);
    EXPECT_EQ(to.row_keys, logit_keys);
  };
  const auto model = [](Attention attention, std::int64_t block = 0, bool causal_context = false) {
    ModelConfig config;
    config.attention = attention;
    config.block_size = block;
    config.causal_context = causal_context;
    return config;
  };
  check(model(Attention::bidirectional), {0, 4, 4, 4, 0, 4, 4, 4, 0, 4, 4, 4, 0, 4, 4, 4, 4, 6,
                                          6, 6, 4, 6, 6, 6, 6, 9, 9, 9, 6, 9, 9, 9, 6, 9, 9, 9},
        {0, 4, 4, 4, 0, 4, 4, 4, 6, 9, 9, 9});
  check(model(Attention::causal), {0, 1, 1, 1, 0, 2, 2, 2, 0, 3, 3, 3, 0, 4, 4, 4, 4, 5,
                                   5, 5, 4, 6, 6, 6, 6, 7, 7, 7, 6, 8, 8, 8, 6, 9, 9, 9},
        {0, 2, 2, 2, 0, 4, 4, 4, 6, 9, 9, 9});
  check(model(Attention::block_causal, 2), {0, 2, 2, 2, 0, 2, 2, 2, 0, 4, 4, 4, 0, 4, 4, 4, 4, 6,
                                            6, 6, 4, 6, 6, 6, 6, 8, 8, 8, 6, 8, 8, 8, 6, 9, 9, 9},
        {0, 2, 2, 2, 0, 4, 4, 4, 6, 9, 9, 9});
  // Of finished blocks every token sees those before it alone.
  check(model(Attention::block_causal, 2, true),
        {0, 1, 1, 1, 0, 2, 2, 2, 0, 4, 4, 4, 0, 4, 4, 4, 4, 6,
         6, 6, 4, 6, 6, 6, 6, 7, 7, 7, 6, 8, 8, 8, 6, 9, 9, 9},
        {0, 2, 2, 2, 0, 4, 4, 4, 6, 9, 9, 9});
}

// Rows that say where they are and what they see: two of one position, in any order.
TEST(Sequences, GivenRowByRow) {
  using Values = std::vector<std::int32_t>;
  const std::vector<KeyIntervals> intervals = {
      {0, 1, 2, 3}, {1, 2, 2, 3}, {2, 3, 3, 3}, {3, 5, 5, 5}, {4, 5, 5, 5}};
  const Sequences given{{0, 3, 5}, {1, 4}, {1, 1, 0, 7, 6}, intervals};
  const ModelLimits limits{5, 2, 2, false};
  check(given, limits, 8);
  const Values ids = {5, 4, 3, 2, 1};
  Placed to(5, 2, 2);
  SequencePlacer placer(limits, AttentionMask(ModelConfig{}));
  placer.place(cpu(), to.tensors(), tensor_of(ids), given);
  EXPECT_EQ(to.positions, given.positions);
  EXPECT_EQ(to.keys, (Values{0, 1, 2, 3, 1, 2, 2, 3, 2, 3, 3, 3, 3, 5, 5, 5, 4, 5, 5, 5}));
  EXPECT_EQ(to.row_positions, (Values{1, 6}));
  EXPECT_EQ(to.row_keys, (Values{1, 2, 2, 3, 4, 5, 5, 5}));
  EXPECT_EQ(to.row_offsets, (Values{0, 1, 2}));

  const auto refused = [&](auto&& change) {
    Sequences wrong = given;
    change(wrong);
    return error_of([&] { check(wrong, limits, 8); });
  };
  EXPECT_TRUE(contains(refused([](Sequences& s) { s.positions[3] = 8; }),
                       "row 3 is at position 8; model.max_seq_length is 8"));
  EXPECT_TRUE(contains(refused([](Sequences& s) { s.positions.pop_back(); }),
                       "4 positions and 5 key intervals of 5 rows"));
  EXPECT_TRUE(contains(refused([](Sequences& s) { s.positions.clear(); }),
                       "0 positions and 5 key intervals of 5 rows"));
  for (const KeyIntervals bad :
       {KeyIntervals{0, 0, 1, 2}, {0, 2, 1, 3}, {0, 1, 2, 4}, {3, 4, 4, 4}})
    EXPECT_TRUE(contains(refused([&](Sequences& s) { s.keys[1] = bad; }),
                         "must ascend within its sequence, [0,3)"));
}

TEST(AttentionMask, ContextOfABlockCausalModel) {
  ModelConfig config;
  config.attention = Attention::block_causal;
  config.block_size = 4;
  const auto ends = [](auto&& keys) {
    std::vector<std::int32_t> all;
    for (std::int64_t position = 0; position < 10; ++position) {
      const KeyIntervals k = keys(position);
      EXPECT_EQ(k.begin0, 20);
      EXPECT_EQ(k.begin1, k.end1);
      all.push_back(k.end0 - 20);
    }
    return all;
  };
  using Values = std::vector<std::int32_t>;
  const auto check = [&](const Values& whole, const Values& context) {
    const AttentionMask mask(config);
    EXPECT_EQ(ends([&](std::int64_t p) { return mask.keys(20, 30, p); }), whole);
    EXPECT_EQ(ends([&](std::int64_t p) { return mask.context_keys(20, 30, p); }), context);
  };
  check({4, 4, 4, 4, 8, 8, 8, 8, 10, 10}, {4, 4, 4, 4, 8, 8, 8, 8, 10, 10});
  config.causal_context = true;
  check({1, 2, 3, 4, 5, 6, 7, 8, 10, 10}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
}

}  // namespace
}  // namespace lacuna
