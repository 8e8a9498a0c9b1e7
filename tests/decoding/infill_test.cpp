#include <gtest/gtest.h>

#include "decoding/generate.h"
#include "tests/support/oracle.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

using Tokens = std::vector<std::int32_t>;

Tokens fill(Decoder& decoder, const Tokens& text, const DecodingOptions& options,
            std::int64_t sample = 0) {
  return decode(decoder,
                {{.tokens = text, .options = options, .sample = sample, .infill = true}})[0]
      .tokens;
}

// Every masked token is predicted as 2, which has the largest logit; what is given stays.
TEST(Infill, FillsEveryGapInPlaceAndNothingElse) {
  const Oracle oracle({0, 1, 3, 2});
  const std::int32_t mask = 4;
  Decoder decoder(cpu(), oracle.config, oracle.weights, {16});
  const std::vector<std::int32_t> canvas = {mask, 0, mask, mask, 1, 3, mask};
  for (const std::int64_t steps : {0, 1, 3, 99})
    EXPECT_EQ(fill(decoder, canvas, {.steps = steps}),
              (std::vector<std::int32_t>{2, 0, 2, 2, 1, 3, 2}))
        << steps;
  EXPECT_EQ(fill(decoder, {1, 0}, {}), (Tokens{1, 0}));  // there is nothing to fill
}

// With a temperature, tokens come with the probabilities of softmax(logits / temperature).
TEST(Infill, DrawsFromTheModelsDistribution) {
  const std::vector<double> logits = {0, 1, 2};
  const Oracle oracle(logits);
  Decoder decoder(cpu(), oracle.config, oracle.weights, {64});
  const double temperature = 1.5;
  const auto p = probabilities(logits, temperature);
  std::vector<std::int64_t> counts(3);
  for (std::int64_t sample = 0; sample < 50; ++sample)
    for (const std::int32_t id :
         fill(decoder, Tokens(64, 3), {.steps = 1, .temperature = temperature, .seed = 5}, sample))
      ++counts.at(std::size_t(id));
  for (std::size_t v = 0; v < 3; ++v) EXPECT_TRUE(plausible(counts[v], 50 * 64, p[v])) << v;
}

// The mask token is left out of what is predicted: the likeliest of the others fills the gap.
TEST(Infill, NoGapStays) {
  Oracle oracle({0, 0, 0});
  const std::int32_t mask = 3;
  oracle.weights.head.as<float>()[mask * oracle.config.hidden_size] = 5;
  Decoder decoder(cpu(), oracle.config, oracle.weights, {16});
  oracle.weights.head.as<float>()[2 * oracle.config.hidden_size] = 1;
  EXPECT_EQ(fill(decoder, {mask, 1, mask}, {}), (Tokens{2, 1, 2}));
}

TEST(Infill, WhatCannotFill) {
  const Oracle causal({0, 1}, Attention::causal);
  Decoder decoder(cpu(), causal.config, causal.weights, {4});
  EXPECT_TRUE(contains(error_of<UsageError>([&] { fill(decoder, {1}, {}); }), "causal"));
  const Oracle oracle({0, 1});
  Decoder filler(cpu(), oracle.config, oracle.weights, {4});
  EXPECT_TRUE(contains(error_of<UsageError>([&] { fill(filler, {2}, {.temperature = -1}); }),
                       "temperature is -1"));
  EXPECT_TRUE(contains(error_of([&] { fill(filler, Tokens(5, 2), {}); }), "5 tokens"));
}

}  // namespace
}  // namespace lacuna
