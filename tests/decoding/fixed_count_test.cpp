#include "decoding/strategies/fixed_count.h"

#include <gtest/gtest.h>

namespace lacuna {
namespace {

using Rows = std::vector<std::int32_t>;

constexpr std::int32_t kMask = 9;

/// A prompt with a hole, and eight masked rows.
Canvas canvas() {
  Canvas c;
  for (const std::int32_t token : {1, kMask, 2}) c.append(token, token == kMask, token != kMask);
  for (int i = 0; i < 8; ++i) c.append(kMask, true, false);
  return c;
}

void commit(Canvas& c, std::int32_t row) {
  c.tokens[std::size_t(row)] = 0;
  c.masked[std::size_t(row)] = false;
}

/// The rows that it fills.
Rows chosen(FixedCount& strategy, const Canvas& c, const std::vector<float>& confidence) {
  const Rows tokens(confidence.size());
  Rows rows;
  for (const Change& change : strategy.decide(c, strategy.plan(c), {tokens, confidence}))
    rows.push_back(change.row);
  return rows;
}

FixedCount after_prompt(const Canvas& c, const DecodingOptions& o, std::int64_t sample = 0) {
  const BlockLayout layout{.first = 3,
                           .length = o.tokens_per_block(),
                           .sees_later = true,
                           .prompt = 3,
                           .end_token = -1,
                           .steps = o.steps_per_block(),
                           .asked = 11};
  return {c, layout, {.tokens = {}, .options = o, .sample = sample}};
}

// Two blocks of four in three steps each: 2, 1, 1 tokens. The prompt's hole is open throughout, and
// what it takes is missing in its block, whose next rows are then open in the next.
TEST(FixedCount, CommitsTheMostConfidentOfItsBlockAndWhatIsLeftBefore) {
  Canvas c = canvas();
  FixedCount strategy = after_prompt(c, {.gen_length = 8, .steps = 6, .block_length = 4});
  EXPECT_EQ(strategy.progress().of, 6);
  EXPECT_EQ(strategy.schedule(c).least, (Rows{2, 1, 1}));
  StepPlan plan = strategy.plan(c);
  EXPECT_EQ(plan.visible, 11);
  EXPECT_EQ(plan.block, (RowRange{3, 7}));
  EXPECT_EQ(plan.open, (Rows{1, 3, 4, 5, 6}));
  EXPECT_EQ(plan.logit_row(2), 4);
  EXPECT_EQ(plan.noise_step, 0u);
  // Of equal confidences the lower row.
  EXPECT_EQ(chosen(strategy, c, {0.5f, 0.9f, 0.5f, 0.1f, 0.5f}), (Rows{1, 3}));
  commit(c, 1);
  commit(c, 3);
  strategy.advance(c);
  EXPECT_EQ(strategy.schedule(c).least, (Rows{1, 1}));
  EXPECT_EQ(strategy.plan(c).open, (Rows{4, 5, 6}));
  EXPECT_EQ(strategy.plan(c).noise_step, 1u);
  commit(c, 4);
  strategy.advance(c);
  commit(c, 5);
  strategy.advance(c);
  EXPECT_EQ(strategy.progress().block, 1);
  EXPECT_EQ(strategy.progress().step, 0);
  EXPECT_EQ(strategy.progress().done, 3);
  EXPECT_EQ(strategy.plan(c).open, (Rows{6, 7, 8, 9, 10}));
  EXPECT_EQ(strategy.plan(c).noise_step, 4u);  // block 1 of 4 rows
  for (int step = 0; step < 3; ++step) {
    EXPECT_FALSE(strategy.progress().finished);
    strategy.advance(c);
  }
  EXPECT_TRUE(strategy.progress().finished);
}

// More steps than rows: those that would fill nothing are not taken.
TEST(FixedCount, IdleStepsAreLeftOut) {
  const Canvas c = canvas();
  const FixedCount strategy = after_prompt(c, {.gen_length = 8, .steps = 100});
  EXPECT_EQ(strategy.progress().of, 8);
  EXPECT_EQ(strategy.schedule(c).least, Rows(8, 1));
}

// Random remasking opens as many rows as it commits, and commits whatever they are.
TEST(FixedCount, RandomRemaskingChoosesWithoutLogits) {
  const Canvas c = canvas();
  DecodingOptions o{.gen_length = 8, .steps = 4, .block_length = 4, .remasking = Remasking::random};
  FixedCount strategy = after_prompt(c, o);
  EXPECT_TRUE(strategy.schedule(c).least.empty());
  const StepPlan plan = strategy.plan(c);
  ASSERT_EQ(plan.open.size(), 2u);
  EXPECT_LT(plan.open[0], plan.open[1]);
  for (const std::int32_t row : plan.open) EXPECT_TRUE(c.masked[std::size_t(row)] && row < 7);
  EXPECT_EQ(chosen(strategy, c, {0.1f, 0.9f}), plan.open);
  std::int64_t same = 0;
  for (o.seed = 1; o.seed <= 10; ++o.seed) same += after_prompt(c, o, 1).plan(c).open == plan.open;
  EXPECT_LT(same, 5);  // of 10 pairs that can be drawn
}

TEST(FixedCount, AnInfillingIsOneBlockAndDrawsNoMasks) {
  const Canvas c = canvas();
  FixedCount strategy(c, {0, 11, true, 0, -1, 4, 11},
                      {.tokens = {}, .options = {}, .infill = true});
  EXPECT_EQ(strategy.progress().of, 4);
  EXPECT_FALSE(strategy.may_draw_mask());
  EXPECT_EQ(strategy.schedule(c).least, (Rows{3, 2, 2, 2}));
  EXPECT_EQ(strategy.plan(c).open.size(), 9u);
  EXPECT_EQ(chosen(strategy, c, {1, 1, 0.1f, 1, 1, 0.2f, 1, 1, 0.3f}), (Rows{1, 3, 5}));
}

}  // namespace
}  // namespace lacuna
