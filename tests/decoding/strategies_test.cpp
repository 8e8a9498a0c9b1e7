#include <gtest/gtest.h>

#include <algorithm>

#include "core/philox.h"
#include "core/tensor_of.h"
#include "decoding/make_strategy.h"
#include "decoding/strategies/confidence.h"
#include "kernels/cpu/cpu_ops.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using Rows = std::vector<std::int32_t>;
using Values = std::vector<float>;

ModelConfig bidirectional() {
  ModelConfig c;
  c.vocab_size = 10;
  c.max_seq_length = 64;
  c.mask_token = 9;
  c.eos_token = 8;
  return c;
}

/// One text, whose statistics the test gives.
struct Text {
  DecodingRequest request;
  ModelConfig model;
  Canvas canvas;
  std::unique_ptr<Strategy> strategy;

  Text(const DecodingOptions& options, Rows prompt = {}, const ModelConfig& m = bidirectional())
      : request{.tokens = std::move(prompt), .options = resolved(options, m)},
        model(m),
        canvas(make_canvas(request, m)),
        strategy(make_strategy(request, canvas, m)) {}

  StepPlan plan() const { return strategy->plan(canvas); }
  bool finished() const { return strategy->progress().finished; }
  /// A step; returns the rows that it fills, and those that it masks again as -1 - row.
  Rows step(const RowStatistics& found) {
    Rows rows;
    for (const Change& c : strategy->decide(canvas, plan(), found)) {
      const bool again = c.token == kMaskAgain;
      rows.push_back(again ? -1 - c.row : c.row);
      canvas.tokens[std::size_t(c.row)] = again ? std::int32_t(model.mask_token) : c.token;
      canvas.masked[std::size_t(c.row)] = again;
    }
    strategy->advance(canvas);
    return rows;
  }
  /// The same where all draws are token 1.
  Rows step(const Values& confidence) {
    const Rows tokens(confidence.size(), 1);
    return step(RowStatistics{tokens, confidence});
  }
};

DecodingOptions of(StrategyKind kind, std::int64_t gen_length = 4) {
  return {.gen_length = gen_length, .strategy = kind};
}

// --- thresholds and the like

// The schedule that a device gets decides as decide() does, step by step, whatever is found.
TEST(Confidence, TheScheduleDecidesTheSame) {
  CpuOps ops{1};
  for (const StrategyKind kind :
       {StrategyKind::fixed, StrategyKind::threshold, StrategyKind::dynamic, StrategyKind::factor,
        StrategyKind::entropy, StrategyKind::margin}) {
    for (const std::int64_t steps : {0, 6}) {
      DecodingOptions o = of(kind, 24);
      o.block_length = 12;
      o.steps = steps;
      o.entropy_bound = 1;
      Text text(o);
      for (std::uint32_t number = 0; !text.finished(); ++number) {
        const StepPlan plan = text.plan();
        const auto n = std::int64_t(plan.open.size());
        // Few distinct values: many are equal.
        const CounterRng rng{7, Purpose::gumbel, number};
        const auto values = [&](std::uint32_t which) {
          Values v;
          for (std::uint32_t m = 0; m < std::uint32_t(n); ++m)
            v.push_back(float(int(10 * rng.uniform53(100 * which + m))) / 9);
          return v;
        };
        const Rows tokens(std::size_t(n), 1);
        const Values confidence = values(0), first = values(1), second = values(2),
                     entropy = values(3);
        const CommitSchedule schedule = text.strategy->schedule(text.canvas);
        Rows canvas = text.canvas.tokens, step(std::size_t(n), -1), not_finite = {0};
        Values probability(std::size_t(n), 0);
        const Rows offsets = {0, std::int32_t(n)}, rules = {std::int32_t(schedule.rule)};
        const std::vector<double> bounds = {schedule.bound};
        RowStats stats;
        stats.draw = tensor_of(tokens);
        stats.p_draw = tensor_of(confidence);
        stats.p_first = tensor_of(first);
        stats.p_second = tensor_of(second);
        stats.entropy = tensor_of(entropy);
        ASSERT_FALSE(schedule.least.empty());
        const Rows least = {schedule.least.front()};
        ops.decide(
            {tensor_of(canvas), tensor_of(step), tensor_of(probability), tensor_of(not_finite)},
            stats, tensor_of(plan.open).reshaped({1, n}), tensor_of(offsets),
            {tensor_of(rules), tensor_of(bounds), tensor_of(least)}, 9, 3);
        const Rows rows = text.step(RowStatistics{.tokens = tokens,
                                                  .confidence = confidence,
                                                  .best = tokens,
                                                  .first = first,
                                                  .second = second,
                                                  .entropy = entropy});
        EXPECT_EQ(canvas, text.canvas.tokens) << int(kind) << ", step " << number;
        for (std::int64_t m = 0; m < n; ++m) {
          const auto i = std::size_t(m);
          const bool chosen = std::find(rows.begin(), rows.end(), plan.open[i]) != rows.end();
          EXPECT_EQ(step[i], chosen ? 3 : -1);
          EXPECT_EQ(probability[i], chosen ? confidence[i] : 0);
        }
      }
    }
  }
}

// A step per masked row at most, of which the last that the block may take commits all.
TEST(Confidence, ScheduleOfTheRestOfABlock) {
  Text text(of(StrategyKind::threshold));
  const auto schedule = [&] { return text.strategy->schedule(text.canvas); };
  EXPECT_EQ(schedule().rule, CommitRule::above);
  EXPECT_EQ(schedule().bound, 0.9);
  EXPECT_EQ(schedule().least, (Rows{1, 1, 1, 4}));
  text.step(Values{0.95f, 0.5f, 0.9f, 0.91f});
  EXPECT_EQ(schedule().least, (Rows{1, 1}));
  DecodingOptions o = of(StrategyKind::dynamic, 5);
  o.steps = 3;
  EXPECT_EQ(Text(o).strategy->schedule(Text(o).canvas).least, (Rows{2, 2, 5}));
  EXPECT_TRUE(Text(of(StrategyKind::wino)).strategy->schedule(text.canvas).least.empty());
}

TEST(Threshold, CommitsWhatExceedsItAndAtLeastOne) {
  Text text(of(StrategyKind::threshold));
  EXPECT_EQ(text.plan().open, (Rows{0, 1, 2, 3}));
  EXPECT_EQ(text.step(Values{0.95f, 0.5f, 0.9f, 0.91f}), (Rows{0, 3}));
  EXPECT_EQ(text.plan().open, (Rows{1, 2}));
  EXPECT_EQ(text.step(Values{0.3f, 0.3f}), (Rows{1}));  // of equal ones the lower row
  EXPECT_EQ(text.step(Values{0.1f}), (Rows{2}));
  EXPECT_TRUE(text.finished());
}

TEST(Threshold, AboveOneIsOneTokenPerStep) {
  DecodingOptions o = of(StrategyKind::threshold);
  o.threshold = 1.5;
  Text text(o);
  EXPECT_EQ(text.step(Values{0.4f, 1, 1, 0.2f}), (Rows{1}));
  EXPECT_EQ(text.step(Values{1, 1, 1}), (Rows{0}));
}

// With fewer steps than it wants, the last of a block commits the rest.
TEST(Threshold, StepsAreALimit) {
  DecodingOptions o = of(StrategyKind::threshold, 8);
  o.block_length = 4;
  o.steps = 4;
  Text text(o);
  EXPECT_EQ(text.strategy->progress().of, 4);
  EXPECT_EQ(text.step(Values(4, 0.1f)), (Rows{0}));
  EXPECT_EQ(text.step(Values(3, 0.1f)), (Rows{1, 2, 3}));
  EXPECT_EQ(text.plan().block, (RowRange{4, 8}));
}

TEST(Dynamic, CommitsAtLeastWhatFixedWould) {
  DecodingOptions o = of(StrategyKind::dynamic, 5);
  o.steps = 3;  // 2, 2, 1
  Text text(o);
  EXPECT_EQ(text.step(Values{0.1f, 0.2f, 0.95f, 0.3f, 0.1f}), (Rows{2, 3}));
  EXPECT_EQ(text.step(Values{0.95f, 0.96f, 0.97f}), (Rows{0, 1, 4}));
  EXPECT_TRUE(text.finished());
}

TEST(Entropy, CommitsTheCertainWithinTheBound) {
  Text text(of(StrategyKind::entropy));
  EXPECT_TRUE(text.strategy->needs().entropy);
  const Rows tokens(4, 1);
  const Values confidence(4, 0.5f), entropy = {0.5f, 0.05f, 0.06f, 0.04f};
  // In order 3, 1, 2: the sums before are 0, 0.04, 0.09, and before row 0 0.15.
  EXPECT_EQ(
      text.step(RowStatistics{.tokens = tokens, .confidence = confidence, .entropy = entropy}),
      (Rows{1, 2, 3}));
}

TEST(Margin, ComparesTheBestTwo) {
  Text text(of(StrategyKind::margin));
  const Rows tokens(4, 1), best(4, 1);
  const Values confidence(4, 0.5f), first = {0.9f, 0.8f, 0.6f, 0.55f},
                                    second = {0.05f, 0.2f, 0.35f, 0.4f};
  EXPECT_EQ(text.step(RowStatistics{tokens, confidence, best, first, second}), (Rows{0, 1}));
}

// --- strategies that take back

TEST(ReMdm, FillsEverythingInItsStepsAndMasksAgain) {
  DecodingOptions o = of(StrategyKind::remdm, 32);
  o.remask_rate = 0.2;
  Text text(o);
  std::int64_t filled = 0, revoked = 0, steps = 0;
  while (!text.finished()) {
    const bool full = text.plan().open.empty();
    const Rows changes = text.step(Values(text.plan().open.size(), 0.5f));
    std::int64_t now = 0;
    for (const std::int32_t row : changes) (row < 0 ? revoked : now) += 1;
    EXPECT_TRUE(now >= 1 || full) << "step " << steps;
    filled += now;
    ++steps;
  }
  EXPECT_EQ(steps, 32);
  EXPECT_EQ(filled - revoked, 32);
  // In step i of 32 a filled row is masked again with probability min(0.2, (31 - i) / i), that is,
  // 0.2 up to step 25: of i rows on average, so 65 up to there and 15 after.
  EXPECT_GT(revoked, 40);
  EXPECT_LT(revoked, 120);
  EXPECT_EQ(std::count(text.canvas.masked.begin(), text.canvas.masked.end(), true), 0);
}

TEST(Wino, ShadowsVerifyWhatWasCommitted) {
  Text text(of(StrategyKind::wino, 8), {3, 4});
  EXPECT_TRUE(text.plan().shadows.empty());
  EXPECT_EQ(text.step(Values{0.7f, 0.1f, 0.8f, 0.61f, 0.2f, 0.1f, 0.1f, 0.1f}), (Rows{2, 4, 5}));
  StepPlan plan = text.plan();
  EXPECT_EQ(plan.open, (Rows{3, 6, 7, 8, 9}));
  EXPECT_EQ(plan.shadows, (Rows{2, 3, 4, 5, 6, 7, 8, 9}));  // not of the prompt
  EXPECT_EQ(plan.verified, (Rows{2, 4, 5}));
  // All three are doubted, and two of them may be masked again: the least probable.
  const Rows tokens(8, 1);
  const Values two = {0.9f, 0.65f, 0.1f, 0.1f, 0.1f, 0, 0, 0},
               one = {0.9f, 0.1f, 0.1f, 0.1f, 0.1f, 0, 0, 0},
               current = {0, 0, 0, 0, 0, 0.3f, 0.1f, 0.2f};
  EXPECT_EQ(text.step(RowStatistics{.tokens = tokens, .confidence = two, .current = current}),
            (Rows{3, -5, -6, 6}));
  // A step that commits one token takes none back, though two were committed before.
  EXPECT_EQ(text.plan().verified, (Rows{2, 3, 6}));
  EXPECT_EQ(text.step(RowStatistics{.tokens = tokens, .confidence = one, .current = current}),
            (Rows{4}));
  // Nor does the step after it.
  EXPECT_EQ(text.plan().verified, (Rows{2, 3, 4, 6}));
  EXPECT_EQ(text.step(RowStatistics{.tokens = tokens, .confidence = two, .current = current}),
            (Rows{5, 7}));
}

// However much it doubts, a step fills at least one row, and the block gets filled in as many steps
// as it has rows.
TEST(Wino, AlwaysEnds) {
  Text text(of(StrategyKind::wino, 32));
  std::int64_t steps = 0;
  while (!text.finished()) {
    const StepPlan plan = text.plan();
    const auto n = std::size_t(plan.draws());
    const Rows tokens(n, 1);
    const Values confidence(n, 0.99f), current(n, 0);
    (void)text.step(RowStatistics{.tokens = tokens, .confidence = confidence, .current = current});
    ASSERT_LE(++steps, 32);
  }
}

TEST(TokenEditing, ReplacesWhatIsFarLessProbable) {
  Text text(of(StrategyKind::edit), {3});
  EXPECT_EQ(text.plan().open, (Rows{1, 2, 3, 4}));
  const Rows tokens = {1, 1, 1, 1}, best = {1, 2, 2, 1};
  const Values confidence = {0.8f, 0.1f, 0.75f, 0.1f}, first = {0.8f, 0.6f, 0.9f, 0.9f},
               second(4, 0.05f);
  EXPECT_EQ(text.step(RowStatistics{tokens, confidence, best, first, second}), (Rows{1, 3}));
  EXPECT_EQ(text.plan().open, (Rows{1, 2, 3, 4}));
  // Row 3 has token 1 and would rather be 2; row 1 stays; of the masked rows the first at least.
  EXPECT_EQ(text.step(RowStatistics{tokens, confidence, best, first, second}), (Rows{2, 3}));
  EXPECT_EQ(text.canvas.tokens[3], 2);
  EXPECT_EQ(text.step(RowStatistics{tokens, confidence, best, first, second}), (Rows{2, 4}));
  EXPECT_FALSE(text.finished());  // as something changed
  EXPECT_EQ(text.step(RowStatistics{tokens, confidence, best, first, second}), Rows{});
  EXPECT_TRUE(text.finished());
}

TEST(TokenEditing, EndsThoughItChangesItsMindForEver) {
  Text text(of(StrategyKind::edit));
  std::int64_t steps = 0;
  while (!text.finished()) {
    const auto n = text.plan().open.size();
    const Rows tokens(n, std::int32_t(steps % 2));
    const Values confidence(n, 0.99f);
    (void)text.step(RowStatistics{tokens, confidence, tokens, confidence, confidence});
    ASSERT_LE(++steps, 4 + 16);
  }
  EXPECT_EQ(steps, 17);  // one fills, 16 edit
}

// --- blocks

TEST(Blocks, AnEndTokenEndsTheTextWithItsBlockIfNothingBeforeItIsMasked) {
  DecodingOptions o = of(StrategyKind::threshold, 12);
  o.block_length = 4;
  o.stop_at_end = true;
  Text text(o, {8});  // an end token in the prompt does not count
  const Rows first = {1, 8, 1, 1};
  const Values unsure = {0.1f, 0.95f, 0.1f, 0.1f};
  EXPECT_EQ(text.step(RowStatistics{first, unsure}), (Rows{2}));
  EXPECT_FALSE(text.finished());  // row 1 is masked, and so is the rest
  EXPECT_EQ(text.step(Values(3, 0.95f)), (Rows{1, 3, 4}));
  EXPECT_TRUE(text.finished());
  o.stop_at_end = false;
  Text on(o, {8});
  (void)on.step(RowStatistics{first, Values(4, 0.95f)});
  EXPECT_FALSE(on.finished());
}

// Blocks of a block-causal model begin at multiples of their length; the prompt's tail is in the
// first of them, and the last is filled whole.
TEST(Blocks, OfABlockCausalModelLieOnAGrid) {
  ModelConfig m = bidirectional();
  m.attention = Attention::block_causal;
  m.block_size = 4;
  const DecodingOptions o{.gen_length = 5};
  EXPECT_EQ(canvas_rows(6, o, m), 12);
  EXPECT_EQ(canvas_rows(7, o, m), 12);
  EXPECT_EQ(canvas_rows(8, o, m), 16);
  Text text(o, {1, 9, 3, 4, 5, 6}, m);  // a mask token in the prompt is a token
  EXPECT_EQ(text.canvas.rows(), 12);
  StepPlan plan = text.plan();
  EXPECT_EQ(plan.block, (RowRange{4, 8}));
  EXPECT_EQ(plan.visible, 8);
  EXPECT_EQ(plan.open, (Rows{6, 7}));
  EXPECT_EQ(text.step(Values{0.95f, 0.95f}), (Rows{6, 7}));
  plan = text.plan();
  EXPECT_EQ(plan.block, (RowRange{8, 12}));
  EXPECT_EQ(plan.visible, 12);
  EXPECT_EQ(text.step(Values{0.95f, 0.1f, 0.1f, 0.95f}), (Rows{8, 11}));
  EXPECT_FALSE(text.finished());
  // The answer ends at row 11: rows behind it need not be filled.
  Text complete(o, {1, 9, 3, 4, 5, 6}, m);
  (void)complete.step(Values{0.95f, 0.95f});
  EXPECT_EQ(complete.step(Values{0.95f, 0.95f, 0.95f, 0.1f}), (Rows{8, 9, 10}));
  EXPECT_TRUE(complete.finished());
}

// --- length

// An end token of probability 1 in n rows is an expectation of n / 32.
TEST(Growing, AddsMasksUntilAnEndIsExpected) {
  Text text({.gen_length = 64, .initial_length = 4}, {3, 4});
  EXPECT_EQ(text.canvas.rows(), 6);
  const auto step = [&](float end, float confidence) {
    const auto n = std::size_t(text.plan().draws());
    const Rows draws(n, 1), ends(n, 8);
    const Values drawn(n, confidence), best(n, end), none(n, 0);
    const Rows filled = text.step(RowStatistics{draws, drawn, ends, best, none});
    const Growth g = text.strategy->growth();
    text.canvas.insert(g.row, g.masks, 9, true);
    text.canvas.insert(text.canvas.rows(), g.ends, 8, false);
    return std::vector<std::int64_t>{std::int64_t(filled.size()), g.row, g.masks, g.ends};
  };
  using Seen = std::vector<std::int64_t>;
  EXPECT_EQ(step(1, 0.5f), (Seen{0, 6, 8, 0}));    // 4 / 32
  EXPECT_EQ(step(1, 0.5f), (Seen{0, 14, 8, 0}));   // 12 / 32
  EXPECT_EQ(step(1, 0.5f), (Seen{0, 22, 0, 16}));  // 20 / 32: long enough
  EXPECT_EQ(text.canvas.rows(), 38);
  // 32 rows of 0.8 expect too little of an end. Improbable rows are where the text is too short.
  EXPECT_EQ(step(0.8f, 0.3f), (Seen{1, 0, 0, 0}));
  EXPECT_EQ(step(0.8f, 0.05f), (Seen{1, 4, 7, 0}));
  EXPECT_EQ(step(1, 0.05f), (Seen{1, 0, 0, 0}));  // 1: not while an end is expected
  // 21 rows are left.
  for (const std::int64_t masks : {7, 7, 7, 0}) EXPECT_EQ(step(0.8f, 0.05f)[2], masks);
  EXPECT_EQ(text.canvas.rows(), 66);
  EXPECT_EQ(step(0.8f, 0.05f), (Seen{1, 0, 0, 0}));
}

// --- options

TEST(DecodingOptions, WhatAModelMakesOfThem) {
  ModelConfig m = bidirectional();
  DecodingOptions o = resolved({}, m);
  EXPECT_EQ(o.strategy, StrategyKind::fixed);
  EXPECT_EQ(o.cache, CacheKind::none);
  EXPECT_EQ(o.block_length, 128);
  o = resolved({.preset = DecodingPreset::fast}, m);
  EXPECT_EQ(o.strategy, StrategyKind::threshold);
  EXPECT_EQ(o.threshold, 0.9);
  EXPECT_EQ(o.cache, CacheKind::dual);
  EXPECT_EQ(o.block_length, 32);
  EXPECT_TRUE(o.stop_at_end);
  EXPECT_EQ(resolved(o, m), o);
  o = resolved({.strategy = StrategyKind::edit}, m);
  EXPECT_EQ(o.threshold, 0.7);
  EXPECT_EQ(o.revise_threshold, 0.5);
  m.attention = Attention::block_causal;
  m.block_size = 4;
  o = resolved({}, m);
  EXPECT_EQ(o.strategy, StrategyKind::threshold);
  EXPECT_EQ(o.cache, CacheKind::prefix);
  EXPECT_EQ(o.block_length, 4);
  EXPECT_TRUE(o.stop_at_end);
  EXPECT_EQ(resolved(o, m), o);
  EXPECT_EQ(resolved({.remasking = Remasking::random}, m).strategy, StrategyKind::fixed);
  m.attention = Attention::causal;
  EXPECT_EQ(resolved({}, m).cache, CacheKind::prefix);
}

TEST(DecodingOptions, WhatAModelHasNoUseFor) {
  const auto error = [](const DecodingOptions& o, Attention attention) {
    ModelConfig m = bidirectional();
    m.attention = attention;
    m.block_size = attention == Attention::block_causal ? 4 : 0;
    return testing::error_of<UsageError>([&] { (void)resolved(o, m); });
  };
  using testing::contains;
  EXPECT_TRUE(contains(error({.cache = CacheKind::dual}, Attention::causal), "cache dual"));
  EXPECT_TRUE(contains(error({.cache = CacheKind::vicinity}, Attention::block_causal), "exact"));
  EXPECT_TRUE(contains(error({.strategy = StrategyKind::wino}, Attention::causal),
                       "strategy wino: the model is autoregressive"));
  EXPECT_TRUE(contains(error({.block_length = 8}, Attention::block_causal), "block_size 4"));
  EXPECT_TRUE(contains(error({.remasking = Remasking::random, .strategy = StrategyKind::entropy},
                             Attention::bidirectional),
                       "remasking random is of strategy fixed"));
  EXPECT_TRUE(contains(error({.gen_length = 10, .block_length = 4}, Attention::bidirectional),
                       "does not divide"));
  EXPECT_TRUE(contains(error({.remask_rate = 2}, Attention::bidirectional), "at most 1"));
  EXPECT_TRUE(contains(error({.gen_length = 8, .initial_length = 9}, Attention::bidirectional),
                       "initial_length is 9; it must be at most gen_length 8"));
  EXPECT_TRUE(contains(error({.initial_length = 4}, Attention::causal), "needs no length"));
  EXPECT_TRUE(contains(error({.initial_length = 4}, Attention::block_causal), "needs no length"));
  EXPECT_TRUE(contains(
      error({.strategy = StrategyKind::wino, .initial_length = 4}, Attention::bidirectional),
      "strategy wino needs to know the length"));
  EXPECT_TRUE(contains(error({.steps = 4, .initial_length = 4}, Attention::bidirectional),
                       "passes a text that grows"));
}

}  // namespace
}  // namespace lacuna
