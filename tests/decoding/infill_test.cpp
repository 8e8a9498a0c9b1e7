#include "decoding/infill.h"

#include <gtest/gtest.h>

#include "tests/support/oracle.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

// Every masked token is predicted as 2, which has the largest logit; what is given stays.
TEST(Infill, FillsEveryGapInPlaceAndNothingElse) {
  const Oracle oracle({0, 1, 3, 2});
  const std::int32_t mask = 4;
  Infiller infiller(cpu(), oracle.config, oracle.weights, 16);
  const std::vector<std::int32_t> canvas = {mask, 0, mask, mask, 1, 3, mask};
  for (const std::int64_t steps : {0, 1, 3, 99})
    EXPECT_EQ(infiller.fill(canvas, {.steps = steps}),
              (std::vector<std::int32_t>{2, 0, 2, 2, 1, 3, 2}))
        << steps;
  EXPECT_EQ(infiller.fill({1, 0}, {}), (std::vector<std::int32_t>{1, 0}));
}

// With a temperature, tokens come with the probabilities of softmax(logits / temperature).
TEST(Infill, DrawsFromTheModelsDistribution) {
  const std::vector<double> logits = {0, 1, 2};
  const Oracle oracle(logits);
  Infiller infiller(cpu(), oracle.config, oracle.weights, 64);
  const double temperature = 1.5;
  const auto p = probabilities(logits, temperature);
  std::vector<std::int64_t> counts(3);
  for (std::int64_t sample = 0; sample < 50; ++sample)
    for (const std::int32_t id :
         infiller.fill(std::vector<std::int32_t>(64, 3),
                       {.steps = 1, .temperature = temperature, .seed = 5, .sample = sample}))
      ++counts.at(std::size_t(id));
  for (std::size_t v = 0; v < 3; ++v) EXPECT_TRUE(plausible(counts[v], 50 * 64, p[v])) << v;
}

TEST(Infill, WhatCannotFill) {
  const Oracle causal({0, 1}, Attention::causal);
  EXPECT_TRUE(contains(
      error_of<UsageError>([&] { Infiller(cpu(), causal.config, causal.weights, 4); }), "causal"));
  Oracle no_mask({0, 1});
  no_mask.config.mask_token = -1;
  EXPECT_TRUE(
      contains(error_of<UsageError>([&] { Infiller(cpu(), no_mask.config, no_mask.weights, 4); }),
               "model.mask_token is -1"));
}

}  // namespace
}  // namespace lacuna
