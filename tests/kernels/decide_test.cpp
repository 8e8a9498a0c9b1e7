#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "core/tensor_of.h"
#include "kernels/cpu/cpu_ops.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using Numbers = std::vector<std::int32_t>;
using Values = std::vector<float>;

constexpr std::int32_t kMask = 9;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::int32_t chosen(CommitRule rule, double bound, const std::vector<double>& scores) {
  std::vector<ScoredDraw> draws;
  for (const double score : scores) draws.push_back({score, std::int32_t(draws.size())});
  return chosen_by(rule, bound, draws.data(), std::int32_t(draws.size()));
}

TEST(CommitRule, Counts) {
  EXPECT_EQ(chosen(CommitRule::count, 0, {1, 1}), 0);
  EXPECT_EQ(chosen(CommitRule::above, 0.9, {0.99, 0.95, 0.9, 0.2}), 2);
  EXPECT_EQ(chosen(CommitRule::above, 0.9, {}), 0);
  EXPECT_EQ(chosen(CommitRule::margin, 0.5, {0.7, 0.6, 0.5}), 2);
  // The n-th needs 1 - f / (n + 1): with f = 1 1/2, 2/3, 3/4, 4/5.
  EXPECT_EQ(chosen(CommitRule::factor, 1, {0.9, 0.8, 0.75, 0.7}), 3);
  EXPECT_EQ(chosen(CommitRule::factor, 1, {0.49, 0.4}), 0);
  EXPECT_EQ(chosen(CommitRule::factor, 3, {0.1, 0.1}), 2);
  // The sum of those before: 0, 0.05, 0.10, 0.2.
  EXPECT_EQ(chosen(CommitRule::entropy, 0.1, {-0.05, -0.05, -0.1, -0.1}), 3);
  EXPECT_EQ(chosen(CommitRule::entropy, 0, {-0.5, -0.6}), 1);
  EXPECT_EQ(chosen(CommitRule::entropy, 0, {0, 0, -0.1, -0.2}), 3);
}

/// Rows 1, 3, 5, 7 of one text of eight tokens, and row 9 of another of two.
struct Decide : ::testing::Test {
  void run() {
    const auto given = [](const Values& v) { return v.empty() ? Tensor() : tensor_of(v); };
    RowStats found;
    found.draw = tensor_of(tokens);
    found.p_draw = tensor_of(confidence);
    found.p_first = given(first);
    found.p_second = given(second);
    found.entropy = given(entropy);
    ops.decide(
        {tensor_of(canvas), tensor_of(step), tensor_of(probability), tensor_of(not_finite)}, found,
        tensor_of(rows).reshaped(
            {std::int64_t(rows.size() / tokens.size()), std::int64_t(tokens.size())}),
        tensor_of(offsets), {tensor_of(rules), tensor_of(bounds), tensor_of(least)}, kMask, 6);
  }
  void use(CommitRule rule, double bound) {
    rules = Numbers(2, std::int32_t(rule));
    bounds = {bound, bound};
  }
  CpuOps ops{1};
  Numbers canvas = {0, 9, 0, 9, 0, 4, 0, 9, 0, 9}, step = Numbers(5, -1), not_finite = {0},
          tokens = {11, 12, 13, 14, 15}, rows = {1, 3, 5, 7, 9}, offsets = {0, 4, 5},
          rules = {0, 0}, least = {2, 1};
  std::vector<double> bounds = {0, 0};
  Values confidence = {0.5f, 0.25f, 0.9f, 0.5f, 0.0f}, probability = Values(5, 0), first, second,
         entropy;
};

TEST_F(Decide, TheMostConfidentOfTheMasked) {
  run();
  EXPECT_EQ(canvas, (Numbers{0, 11, 0, 9, 0, 4, 0, 14, 0, 15}));
  EXPECT_EQ(step, (Numbers{6, -1, -1, 6, 6}));
  EXPECT_EQ(probability, (Values{0.5f, 0, 0, 0.5f, 0}));
  EXPECT_EQ(not_finite[0], 0);
}

TEST_F(Decide, TheFirstOfEquals) {
  least = {1, 0};
  run();
  EXPECT_EQ(canvas, (Numbers{0, 11, 0, 9, 0, 4, 0, 9, 0, 9}));
}

TEST_F(Decide, MoreThanThereAre) {
  least = {7, 1};
  run();
  EXPECT_EQ(canvas, (Numbers{0, 11, 0, 12, 0, 4, 0, 14, 0, 15}));
}

TEST_F(Decide, NothingWhereNothingIsMasked) {
  least = {7, 7};
  run();
  const Numbers filled = canvas;
  tokens = Numbers(5, 1);
  step = Numbers(5, -1);
  run();
  EXPECT_EQ(canvas, filled);
  EXPECT_EQ(step, Numbers(5, -1));
}

TEST_F(Decide, AboveABoundAndAtLeastSoMany) {
  use(CommitRule::above, 0.25);
  least = {1, 1};
  run();
  EXPECT_EQ(canvas, (Numbers{0, 11, 0, 9, 0, 4, 0, 14, 0, 15}));
}

TEST_F(Decide, ByMargin) {
  use(CommitRule::margin, 0.5);
  least = {1, 0};
  first = {0.6f, 0.9f, 1, 0.8f, 0.5f};
  second = {0.2f, 0.1f, 0, 0.1f, 0.4f};
  run();
  EXPECT_EQ(canvas, (Numbers{0, 9, 0, 12, 0, 4, 0, 14, 0, 9}));
  EXPECT_EQ(probability, (Values{0, 0.25f, 0, 0.5f, 0}));  // of the token that was drawn
}

TEST_F(Decide, ByEntropy) {
  use(CommitRule::entropy, 0.25);
  least = {1, 1};
  entropy = {0.5f, 0.125f, 0, 0.25f, 2};
  run();
  EXPECT_EQ(canvas, (Numbers{0, 9, 0, 12, 0, 4, 0, 14, 0, 15}));
}

TEST_F(Decide, EachTextByItsOwnRule) {
  rules = {std::int32_t(CommitRule::factor), std::int32_t(CommitRule::count)};
  bounds = {1, 0};
  least = {0, 0};
  confidence = {0.5f, 0.4f, 0, 0.7f, 1};
  run();  // 0.7 >= 1/2, but 0.5 < 2/3
  EXPECT_EQ(canvas, (Numbers{0, 9, 0, 9, 0, 4, 0, 14, 0, 9}));
}

TEST_F(Decide, ATokenMayBeTheMask) {
  tokens[0] = kMask;
  run();
  EXPECT_EQ(canvas, (Numbers{0, 9, 0, 9, 0, 4, 0, 14, 0, 15}));
  EXPECT_EQ(step, (Numbers{-1, -1, -1, 6, 6}));
  EXPECT_EQ(probability[0], 0);
}

// Rows without a draw of their own get the draw's token as well; draws without a row take no part.
TEST_F(Decide, TokensGoToFurtherRows) {
  canvas.resize(12, kMask);
  rows = {1, 3, 5, -1, 9, 10, 11, -1, -1, -1};
  run();
  EXPECT_EQ(canvas, (Numbers{0, 11, 0, 12, 0, 4, 0, 9, 0, 15, 11, 12}));
}

TEST_F(Decide, SaysWhenAScoreIsNotFinite) {
  confidence[2] = kNaN;  // of a row that is not masked
  run();
  EXPECT_EQ(not_finite[0], 0);
  canvas = {0, 9, 0, 9, 0, 4, 0, 9, 0, 9};
  confidence[1] = kNaN;
  run();
  EXPECT_EQ(not_finite[0], 1);
  EXPECT_EQ(canvas[3], kMask);
}

TEST_F(Decide, WrongTensors) {
  rows[4] = 10;
  EXPECT_TRUE(contains(error_of([&] { run(); }), "decide: rows[0,4] is 10; tokens is [10] i32"));
  rows[4] = 9;
  rules[1] = 5;
  EXPECT_TRUE(contains(error_of([&] { run(); }), "decide: rules[1] is 5; there is no such rule"));
  use(CommitRule::entropy, 0);
  EXPECT_TRUE(contains(error_of([&] { run(); }), "decide: rules[0] needs entropy"));
  use(CommitRule::margin, 0);
  EXPECT_TRUE(contains(error_of([&] { run(); }), "decide: rules[0] needs p_first and p_second"));
  step.pop_back();
  EXPECT_TRUE(contains(error_of([&] { run(); }), "decide: step is [4] i32; it must be [5] i32"));
}

}  // namespace
}  // namespace lacuna
