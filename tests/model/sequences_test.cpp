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

TEST(Sequences, Placed) {
  using Values = std::vector<std::int32_t>;
  const Values ids = {7, 6, 5, 4, 3, 2, 1, 0, 8};
  const auto check = [&](Attention attention, const Values& query_keys, const Values& logit_keys) {
    Values tokens(9, -1), positions(9, -1), offsets(4, -1), keys(36, -1), rows(3, -1),
        row_positions(3, -1), row_keys(12, -1), row_offsets(4, -1);
    const SequenceTensors to{.tokens = tensor_of(tokens),
                             .all = {.rows = {},
                                     .positions = tensor_of(positions),
                                     .keys = Tensor(keys.data(), {9, 4}),
                                     .offsets = tensor_of(offsets)},
                             .logit = {.rows = tensor_of(rows),
                                       .positions = tensor_of(row_positions),
                                       .keys = Tensor(row_keys.data(), {3, 4}),
                                       .offsets = tensor_of(row_offsets)}};
    SequencePlacer placer({9, 3, 3, false}, attention);
    placer.place(cpu(), to, tensor_of(ids), {{0, 4, 6, 9}, {1, 3, 8}});
    EXPECT_EQ(tokens, ids);
    EXPECT_EQ(positions, (Values{0, 1, 2, 3, 0, 1, 0, 1, 2}));
    EXPECT_EQ(offsets, (Values{0, 4, 6, 9}));
    EXPECT_EQ(rows, (Values{1, 3, 8}));
    EXPECT_EQ(row_positions, (Values{1, 3, 2}));
    EXPECT_EQ(row_offsets, (Values{0, 2, 2, 3}));
    EXPECT_EQ(keys, query_keys);
    EXPECT_EQ(row_keys, logit_keys);
  };
  check(Attention::full, {0, 4, 4, 4, 0, 4, 4, 4, 0, 4, 4, 4, 0, 4, 4, 4, 4, 6,
                          6, 6, 4, 6, 6, 6, 6, 9, 9, 9, 6, 9, 9, 9, 6, 9, 9, 9},
        {0, 4, 4, 4, 0, 4, 4, 4, 6, 9, 9, 9});
  check(Attention::causal, {0, 1, 1, 1, 0, 2, 2, 2, 0, 3, 3, 3, 0, 4, 4, 4, 4, 5,
                            5, 5, 4, 6, 6, 6, 6, 7, 7, 7, 6, 8, 8, 8, 6, 9, 9, 9},
        {0, 2, 2, 2, 0, 4, 4, 4, 6, 9, 9, 9});
}

}  // namespace
}  // namespace lacuna
