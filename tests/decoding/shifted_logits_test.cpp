// Decoding of models that predict a token at the row before it (model.logits_shift).
#include <gtest/gtest.h>

#include "decoding/generate.h"
#include "tests/support/oracle.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT
using Tokens = std::vector<std::int32_t>;

struct Shifted {
  ModelConfig config = tiny_config();
  std::unique_ptr<ModelTensors> weights;

  explicit Shifted(std::int64_t block_size = 0, std::uint64_t seed = 5) {
    config.mask_token = config.vocab_size - 1;
    config.eos_token = config.vocab_size - 2;
    config.logits_shift = true;
    config.attention = block_size ? Attention::block_causal : Attention::bidirectional;
    config.block_size = block_size;
    weights = std::make_unique<ModelTensors>(cpu().memory(), config, "weights");
    randomise(*weights, seed);
  }

  /// The logits [n,V] of all rows of a text.
  std::vector<float> logits(const Tokens& text) const {
    const auto n = std::int64_t(text.size());
    Sequences sequences = Sequences::equal(1, n);
    sequences.logit_rows = every_row(n);
    Model model(cpu(), config, *weights, {n, 1, n, false});
    Head head(cpu(), config, *weights, n, nullptr, HeadUse::logits);
    return elements(head.logits(model.forward(tensor_of(text), sequences)));
  }

  /// Dream's generation (arXiv:2508.15487) at temperature 0, a token per step: of all masked
  /// positions i in [begin, end), the one whose most probable token, by the logits of i - 1, is the
  /// most probable of all, gets it.
  void fill(Tokens& text, std::size_t begin, std::size_t end) const {
    for (std::size_t step = begin; step < end; ++step) {
      const std::vector<float> all = logits(text);
      double best = -1;
      std::size_t row = 0;
      std::int32_t token = 0;
      for (std::size_t i = begin; i < end; ++i) {
        if (text[i] != config.mask_token) continue;
        const float* const own = all.data() + std::int64_t(i - 1) * config.vocab_size;
        const auto likeliest = std::int32_t(std::max_element(own, own + config.mask_token) - own);
        double sum = 0;
        for (std::int64_t v = 0; v < config.mask_token; ++v)
          sum += std::exp(double(own[v]) - double(own[likeliest]));
        if (1 / sum > best) {
          best = 1 / sum;
          row = i;
          token = likeliest;
        }
      }
      text[row] = token;
    }
  }
  Tokens decoded(const Tokens& prompt, DecodingOptions options) const {
    const auto n = std::int64_t(prompt.size());
    Decoder decoder(cpu(), config, *weights, limits_for(config, options, n, 1));
    return decode(decoder, {{.tokens = prompt, .options = options}})[0].tokens;
  }
};

const DecodingOptions kOnePerStep{
    .gen_length = 6, .strategy = StrategyKind::threshold, .threshold = 2, .cache = CacheKind::none};

TEST(ShiftedLogits, EachTokenIsReadAtTheRowBeforeIt) {
  for (const std::uint64_t seed : {5, 6, 7}) {
    const Shifted model(0, seed);
    Tokens expected = {3, 4, 5};
    expected.resize(9, std::int32_t(model.config.mask_token));
    model.fill(expected, 3, 9);
    EXPECT_EQ(model.decoded({3, 4, 5}, kOnePerStep), expected);
  }
}

TEST(ShiftedLogits, BeforeAnEmptyPromptIsTheEndToken) {
  const Shifted model;
  Tokens expected = {std::int32_t(model.config.eos_token)};
  expected.resize(7, std::int32_t(model.config.mask_token));
  model.fill(expected, 1, 7);
  EXPECT_EQ(model.decoded({}, kOnePerStep), Tokens(expected.begin() + 1, expected.end()));
}

TEST(ShiftedLogits, TheFirstTokenOfABlockIsReadInTheBlockBefore) {
  const Shifted model(4);
  Tokens expected = {3, 4, 5};
  for (const std::size_t end : {4, 8, 12}) {
    const std::size_t begin = expected.size();
    expected.resize(end, std::int32_t(model.config.mask_token));
    model.fill(expected, begin, end);
  }
  DecodingOptions o = kOnePerStep;
  o.gen_length = 9;
  o.stop_at_end = false;
  for (const CacheKind cache : {CacheKind::none, CacheKind::prefix}) {
    o.cache = cache;
    EXPECT_EQ(model.decoded({3, 4, 5}, o), expected) << word_of(cache);
  }
}

TEST(ShiftedLogits, WhatCannotBeDone) {
  Shifted model;
  DecodingOptions o = kOnePerStep;
  o.strategy = StrategyKind::wino;
  EXPECT_TRUE(contains(error_of<UsageError>([&] { model.decoded({1}, o); }),
                       "wino is not for a model with logits_shift"));
  const auto mask = std::int32_t(model.config.mask_token);
  EXPECT_TRUE(contains(error_of<UsageError>([&] {
                         model.decoded({mask, 1}, kOnePerStep);
                       }),
                       "cannot fill a text's first token"));
  model.config.eos_token = -1;
  EXPECT_TRUE(contains(error_of<UsageError>([&] { model.decoded({}, kOnePerStep); }),
                       "without an end token, needs a prompt"));
}

}  // namespace
}  // namespace lacuna
