#include "diffusion/responses.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/diffusion/golden_loss.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// A case of scripts/golden/responses.py.
class GoldenResponses : public GoldenLoss {
 protected:
  GoldenResponses() : GoldenLoss("responses_") {
    const Tensor table = golden_["examples"];
    const std::int32_t* ids = golden_["tokens"].as<std::int32_t>();
    for (std::int64_t b = 0; b < table.rows(); ++b) {
      const std::int64_t* row = table.as<std::int64_t>() + 3 * b;
      examples_.push_back(
          {{{ids, ids + row[0]}, row[1]}, causal_ ? 0 : row[2], number("first_sample") + b});
      ids += row[0];
    }
  }
  LossBatch batch(std::size_t first, std::size_t count) const {
    return make_response_batch(options_, std::span(examples_).subspan(first, count),
                               std::int32_t(number("eos_token")), number("examples_in_step"));
  }

  std::vector<ResponseExample> examples_;
};

TEST_P(GoldenResponses, MasksLossAndGradients) {
  const LossBatch all = batch(0, examples_.size());
  ASSERT_NO_FATAL_FAILURE(expect_masked(all));
  ObjectiveRunner runner(cpu(), config_, weights_, ModelLimits{60, 6, 60, true});
  EXPECT_NEAR(runner.loss_and_gradients(all, gradients_), loss(), loss() * tolerance(forward()));
  expect_row_losses(runner);
  expect_gradients();
}

TEST_P(GoldenResponses, MicroBatchesAddUpInAnyOrder) {
  ObjectiveRunner runner(cpu(), config_, weights_, ModelLimits{60, 6, 60, true});
  double sum = 0;
  for (const std::size_t first : {4, 0, 2})
    sum += runner.loss_and_gradients(batch(first, 2), gradients_);
  EXPECT_NEAR(sum, loss(), loss() * tolerance(forward()));
  expect_gradients();
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenResponses, ::testing::Values("diffusion", "autoregressive"));

// Over random examples: no prompt token is ever masked, predicted or changed; every masked one
// becomes the mask token and is a target; weights are 1 / (p A B); padding is end tokens.
TEST(Responses, MasksNeverTouchAPrompt) {
  const std::int32_t mask = 50, end = 49;
  const NoiseOptions options{.seed = 9, .mask_token = mask};
  const CounterRng rng{3, Purpose::benchmark};
  std::uint32_t drawn = 0;
  const auto draw = [&](std::int64_t least, std::int64_t most) {
    return least + std::int64_t(rng.below(std::uint64_t(most - least + 1), drawn++));
  };
  std::int64_t masked = 0, tokens = 0;
  for (int round = 0; round < 200; ++round) {
    std::vector<ResponseExample> examples(std::size_t(draw(1, 6)));
    for (ResponseExample& e : examples) {
      e.text.prompt = draw(0, 12);
      e.text.tokens.resize(std::size_t(e.text.prompt + draw(1, 12)));
      // The mask token itself may occur in a text: it is then a target only where it was masked.
      for (std::int32_t& id : e.text.tokens) id = std::int32_t(draw(0, mask));
      e.padding = draw(0, 4);
      e.sample = draw(0, 1 << 20);
    }
    const LossBatch batch = make_response_batch(options, examples, end, 7);
    ASSERT_EQ(batch.offsets.size(), examples.size() + 1);
    std::size_t row = 0;
    for (std::size_t b = 0; b < examples.size(); ++b) {
      const ResponseExample& e = examples[b];
      const auto start = std::size_t(batch.offsets[b]);
      std::vector<std::int32_t> clean = e.text.tokens;
      clean.insert(clean.end(), std::size_t(e.padding), end);
      ASSERT_EQ(std::size_t(batch.offsets[b + 1]), start + clean.size());
      for (std::size_t i = 0; i < clean.size(); ++i) {
        const bool is_masked = batch.masked[start + i] != 0;
        if (std::int64_t(i) < e.text.prompt) {
          ASSERT_FALSE(is_masked);
        }
        ASSERT_EQ(batch.tokens[start + i], is_masked ? mask : clean[i]);
        if (!is_masked) continue;
        ASSERT_EQ(batch.rows[row], std::int32_t(start + i));
        ASSERT_EQ(batch.targets[row], clean[i]);
        ASSERT_DOUBLE_EQ(batch.weights[row],
                         1 / (double(batch.p[b]) * double(e.text.response() + e.padding) * 7));
        ++row;
      }
      tokens += e.text.response() + e.padding;
    }
    ASSERT_EQ(row, batch.rows.size());
    masked += std::int64_t(row);
  }
  // Half of them on average; ratios differ by example, so this only says that it is not all or
  // none.
  EXPECT_GT(masked, tokens / 3);
  EXPECT_LT(masked, tokens * 2 / 3);
}

TEST(Responses, DependOnTheSampleNotOnTheBatch) {
  const NoiseOptions options{.seed = 9, .mask_token = 50};
  const ResponseExample a{{{1, 2, 3, 4, 5, 6, 7, 8}, 3}, 4, 11}, b{{{9, 8, 7}, 1}, 0, 12};
  const LossBatch together = make_response_batch(options, std::vector{b, a}, 49, 2);
  const LossBatch alone = make_response_batch(options, std::vector{a}, 49, 2);
  EXPECT_EQ(std::vector(together.tokens.begin() + 3, together.tokens.end()), alone.tokens);
  EXPECT_EQ(together.p[1], alone.p[0]);
}

TEST(Responses, TheFirstTokenOfATextWithoutPromptIsGivenToACausalModel) {
  const NoiseOptions options{.objective = Objective::autoregressive};
  const LossBatch batch =
      make_response_batch(options, std::vector<ResponseExample>{{{{5, 6, 7}, 0}}}, -1, 1);
  EXPECT_EQ(batch.rows, (std::vector<std::int32_t>{0, 1}));
  EXPECT_EQ(batch.targets, (std::vector<std::int32_t>{6, 7}));
  EXPECT_EQ(batch.shift, 1);
}

TEST(Responses, WhatCannotBe) {
  const NoiseOptions options{.mask_token = 50};
  const auto error = [&](const ResponseExample& e, std::int32_t end = 49) {
    return error_of([&] { make_response_batch(options, std::vector{e}, end, 1); });
  };
  EXPECT_TRUE(contains(error({{{1, 2}, 2}, 0, 7}), "example 7: 2 tokens with a prompt of 2"));
  EXPECT_TRUE(contains(error({{{1, 2}, 1}, 3, 7}, -1), "has no end token"));
  NoiseOptions no_mask;
  EXPECT_TRUE(
      contains(error_of([&] {
                 make_response_batch(no_mask, std::vector<ResponseExample>{{{{1, 2}, 1}}}, 49, 1);
               }),
               "model.mask_token"));
}

}  // namespace
}  // namespace lacuna
