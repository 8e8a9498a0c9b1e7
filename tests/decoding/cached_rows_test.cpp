#include "decoding/cached_rows.h"

#include <gtest/gtest.h>

#include <limits>

#include "decoding/cache_slabs.h"

namespace lacuna {
namespace {

using Rows = std::vector<std::int32_t>;

Rows from_to(std::int32_t begin, std::int32_t end) {
  Rows rows;
  for (std::int32_t i = begin; i < end; ++i) rows.push_back(i);
  return rows;
}

/// A step of a block of a canvas of 20 rows that get logits from `first` on.
StepPlan step(RowRange block, std::int32_t first, std::int64_t visible = 20) {
  StepPlan plan;
  plan.block = block;
  plan.visible = visible;
  plan.open = {first};
  return plan;
}

Rows rows_of(CachedRows& cached, const StepPlan& plan, bool refresh) {
  const CachedRows::Pass pass = cached.pass(plan);
  EXPECT_EQ(pass.refresh, refresh);
  cached.made(plan, pass);
  return pass.rows;
}

DecodingOptions with(CacheKind kind, std::int64_t refresh_every = 0) {
  return {.cache = kind, .refresh_every = refresh_every, .vicinity = 3};
}

TEST(CachedRows, WithoutACacheEveryPassComputesAll) {
  CachedRows cached(Attention::bidirectional, with(CacheKind::none));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(rows_of(cached, step({8, 12}, 9), true), from_to(0, 20));
  CachedRows blocks(Attention::block_causal, with(CacheKind::none));
  EXPECT_EQ(rows_of(blocks, step({8, 12}, 9, 12), true), from_to(0, 12));
}

TEST(CachedRows, AnApproximateOneIsRefreshedWhenABlockBegins) {
  const struct {
    CacheKind kind;
    Rows first_block, second_block;
  } cases[] = {{CacheKind::prefix, from_to(8, 20), from_to(12, 20)},
               {CacheKind::dual, from_to(8, 12), from_to(12, 16)},
               {CacheKind::vicinity, from_to(5, 15), from_to(9, 19)}};
  for (const auto& c : cases) {
    CachedRows cached(Attention::bidirectional, with(c.kind));
    EXPECT_EQ(rows_of(cached, step({8, 12}, 9), true), from_to(0, 20));
    for (int i = 0; i < 3; ++i) EXPECT_EQ(rows_of(cached, step({8, 12}, 9), false), c.first_block);
    EXPECT_EQ(rows_of(cached, step({12, 16}, 13), true), from_to(0, 20));
    EXPECT_EQ(rows_of(cached, step({12, 16}, 13), false), c.second_block);
  }
}

TEST(CachedRows, OrAfterSoManyPasses) {
  CachedRows cached(Attention::bidirectional, with(CacheKind::dual, 3));
  for (int i = 0; i < 7; ++i)
    EXPECT_EQ(rows_of(cached, step({8, 12}, 9), i % 3 == 0),
              i % 3 == 0 ? from_to(0, 20) : from_to(8, 12));
}

// LLaDA's generate() may leave rows of earlier blocks masked, which then get logits.
TEST(CachedRows, RowsThatAreLeftOverAreComputed) {
  CachedRows cached(Attention::bidirectional, with(CacheKind::dual));
  (void)rows_of(cached, step({8, 12}, 6), true);
  EXPECT_EQ(rows_of(cached, step({8, 12}, 6), false), from_to(6, 12));
}

// A block's first pass computes the finished block before it once more, without its masks.
TEST(CachedRows, AnExactOneGrowsByBlocks) {
  CachedRows cached(Attention::block_causal, with(CacheKind::prefix));
  EXPECT_EQ(rows_of(cached, step({8, 12}, 9, 12), false), from_to(0, 12));
  EXPECT_EQ(rows_of(cached, step({8, 12}, 9, 12), false), from_to(8, 12));
  EXPECT_EQ(rows_of(cached, step({12, 16}, 12, 16), false), from_to(8, 16));
  EXPECT_EQ(rows_of(cached, step({12, 16}, 12, 16), false), from_to(12, 16));
}

TEST(CachedRows, ACausalOneGrowsByTokens) {
  CachedRows cached(Attention::causal, with(CacheKind::prefix));
  EXPECT_EQ(rows_of(cached, step({5, 6}, 4, 5), false), from_to(0, 5));
  EXPECT_EQ(rows_of(cached, step({6, 7}, 5, 6), false), from_to(5, 6));
  EXPECT_EQ(rows_of(cached, step({7, 8}, 6, 7), false), from_to(6, 7));
}

TEST(CacheSlabs, TakeTheFirstGapThatIsLargeEnough) {
  CacheSlabs slabs(10);
  const CacheRows a = *slabs.take(3), b = *slabs.take(4);
  EXPECT_EQ(a, (CacheRows{0, 3}));
  EXPECT_EQ(b, (CacheRows{3, 7}));
  EXPECT_FALSE(slabs.take(4));
  EXPECT_EQ(*slabs.take(3), (CacheRows{7, 10}));
  slabs.give_back(b);
  EXPECT_EQ(*slabs.take(1), (CacheRows{3, 4}));
  EXPECT_FALSE(slabs.take(4));
  slabs.give_back(a);
  EXPECT_EQ(*slabs.take(3), (CacheRows{0, 3}));
  EXPECT_EQ(*slabs.take(3), (CacheRows{4, 7}));
  EXPECT_FALSE(slabs.take(1));
}

TEST(CachedRows, HowManyPassesComputeTheSameRows) {
  constexpr std::int64_t kAll = std::numeric_limits<std::int64_t>::max();
  CachedRows none(Attention::bidirectional, with(CacheKind::none));
  EXPECT_EQ(none.alike(step({8, 12}, 9)), kAll);
  CachedRows dual(Attention::bidirectional, with(CacheKind::dual));
  EXPECT_EQ(dual.alike(step({8, 12}, 9)), 1);  // a refresh
  rows_of(dual, step({8, 12}, 9), true);
  EXPECT_EQ(dual.alike(step({8, 12}, 9)), kAll);
  EXPECT_EQ(dual.alike(step({8, 12}, 7)), 1);  // until row 7 is filled
  EXPECT_EQ(dual.alike(step({12, 16}, 13)), 1);
  CachedRows third(Attention::bidirectional, with(CacheKind::dual, 3));
  for (const std::int64_t alike : {1, 2, 1, 1, 2, 1}) {
    EXPECT_EQ(third.alike(step({8, 12}, 9)), alike);
    third.made(step({8, 12}, 9), third.pass(step({8, 12}, 9)));
  }
  CachedRows every(Attention::bidirectional, with(CacheKind::dual, 1));
  EXPECT_EQ(every.alike(step({8, 12}, 9)), kAll);
  CachedRows blocks(Attention::block_causal, with(CacheKind::prefix));
  EXPECT_EQ(blocks.alike(step({8, 12}, 9, 12)), 1);  // with the prompt
  rows_of(blocks, step({8, 12}, 9, 12), false);
  EXPECT_EQ(blocks.alike(step({8, 12}, 9, 12)), kAll);
  EXPECT_EQ(blocks.alike(step({12, 16}, 13, 16)), 1);  // with the block before
}

}  // namespace
}  // namespace lacuna
