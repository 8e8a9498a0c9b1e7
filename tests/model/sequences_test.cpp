#include "model/sequences.h"

#include "tests/model/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

constexpr ModelLimits kLimits{10, 2, 4, false};

std::string refusal(std::vector<std::int32_t> offsets, std::vector<std::int32_t> head_rows) {
  return error_of([&] { check(Sequences{std::move(offsets), std::move(head_rows)}, kLimits, 8); });
}

TEST(Sequences, Equal) {
  const Sequences s = Sequences::equal(3, 5);
  EXPECT_EQ(s.offsets, (std::vector<std::int32_t>{0, 5, 10, 15}));
  EXPECT_EQ(s.count(), 3);
  EXPECT_EQ(s.rows(), 15);
  EXPECT_TRUE(s.head_rows.empty());
  EXPECT_EQ(Sequences{}.rows(), 0);
}

TEST(Sequences, WhatIsRefused) {
  EXPECT_EQ(refusal({0, 8, 10}, {0, 5, 9}), "");
  EXPECT_TRUE(contains(refusal({}, {}), "offsets must begin with 0"));
  EXPECT_TRUE(contains(refusal({0}, {}), "offsets must begin with 0"));
  EXPECT_TRUE(contains(refusal({1, 4}, {}), "offsets must begin with 0"));
  EXPECT_TRUE(contains(refusal({0, 4, 4}, {}), "sequence 1 is empty"));
  EXPECT_TRUE(contains(refusal({0, 4, 2}, {}), "sequence 1 is empty"));
  EXPECT_TRUE(contains(refusal({0, 9}, {}), "has 9 tokens; model.max_length is 8"));
  EXPECT_TRUE(contains(refusal({0, 6, 12}, {}), "12 tokens where at most 10"));
  EXPECT_TRUE(contains(refusal({0, 1, 2, 3}, {}), "3 of them where at most 2"));
  EXPECT_TRUE(contains(refusal({0, 8}, {0, 1, 2, 3, 4}), "5 head rows where at most 4"));
  EXPECT_TRUE(contains(refusal({0, 8}, {8}), "head row 8 of 8 rows"));
  EXPECT_TRUE(contains(refusal({0, 8}, {-1}), "head row -1"));
  EXPECT_TRUE(contains(refusal({0, 8}, {3, 3}), "must increase; 3 follows 3"));
}

TEST(Sequences, Placed) {
  std::vector<std::int32_t> tokens(9, -1), positions(9, -1), offsets(4, -1), rows(3, -1),
      row_positions(3, -1), row_offsets(4, -1);
  const SequenceTensors to{view(tokens), view(positions),     view(offsets),
                           view(rows),   view(row_positions), view(row_offsets)};
  const std::vector<std::int32_t> ids = {7, 6, 5, 4, 3, 2, 1, 0, 8};
  SequencePlacer placer({9, 3, 3, false});
  placer.place(cpu(), to, view(ids), {{0, 4, 6, 9}, {1, 3, 8}});
  EXPECT_EQ(tokens, ids);
  EXPECT_EQ(positions, (std::vector<std::int32_t>{0, 1, 2, 3, 0, 1, 0, 1, 2}));
  EXPECT_EQ(offsets, (std::vector<std::int32_t>{0, 4, 6, 9}));
  EXPECT_EQ(rows, (std::vector<std::int32_t>{1, 3, 8}));
  EXPECT_EQ(row_positions, (std::vector<std::int32_t>{1, 3, 2}));
  EXPECT_EQ(row_offsets, (std::vector<std::int32_t>{0, 2, 2, 3}));
}

}  // namespace
}  // namespace lacuna
