#include "decoding/prefix_cache.h"

#include <gtest/gtest.h>

#include <map>

#include "decoding/generate.h"
#include "tests/support/oracle.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

using Tokens = std::vector<std::int32_t>;

TEST(PrefixCache, FindsTheLongestBeginning) {
  PrefixCache cache(100, 20);
  EXPECT_EQ(cache.find(Tokens{1, 2}).count, 0);
  EXPECT_EQ(cache.add(Tokens{1, 2, 3}), (CacheRows{100, 103}));
  EXPECT_EQ(cache.add(Tokens{1, 9}), (CacheRows{103, 105}));
  EXPECT_EQ(cache.find(Tokens{1, 2, 4}).count, 2);
  EXPECT_EQ(cache.find(Tokens{1, 2, 4}).row, 100);
  EXPECT_EQ(cache.find(Tokens{1, 9, 9}).row, 103);
  EXPECT_EQ(cache.find(Tokens{2}).count, 0);
  EXPECT_EQ(cache.add(Tokens{1, 2}), std::nullopt);  // is there
  EXPECT_EQ(cache.add(Tokens{}), std::nullopt);
  // In place of the text that it goes on with.
  EXPECT_EQ(cache.add(Tokens{1, 9, 5}), (CacheRows{103, 106}));
}

TEST(PrefixCache, TheLeastRecentlyUsedTextIsEvicted) {
  PrefixCache cache(0, 6);
  for (const std::int32_t first : {1, 2, 3}) (void)cache.add(Tokens{first, first});
  EXPECT_EQ(cache.find(Tokens{1, 1}).count, 2);
  EXPECT_EQ(cache.add(Tokens{4, 4}), (CacheRows{2, 4}));
  EXPECT_EQ(cache.find(Tokens{2, 2}).count, 0);
  EXPECT_EQ(cache.find(Tokens{1, 1}).count, 2);
  // Longer than all the rows: its beginning, in place of everything.
  EXPECT_EQ(cache.add(Tokens(9, 7)), (CacheRows{0, 6}));
  EXPECT_EQ(cache.find(Tokens(9, 7)).count, 6);
  EXPECT_EQ(cache.find(Tokens{1, 1}).count, 0);
}

struct Served {
  Attention attention;
  bool causal_context, logits_shift;
};

class Prefixes : public ::testing::TestWithParam<Served> {
 protected:
  Prefixes() : config_(make_config(GetParam())), weights_(cpu().memory(), config_, "weights") {
    randomise(weights_, 5);
  }
  static ModelConfig make_config(const Served& s) {
    ModelConfig c = tiny_config();
    c.attention = s.attention;
    c.max_seq_length = 64;
    c.mask_token = c.vocab_size - 1;
    c.eos_token = c.vocab_size - 2;
    c.logits_shift = s.logits_shift;
    c.block_size = s.attention == Attention::block_causal ? 4 : 0;
    c.causal_context = s.causal_context;
    return c;
  }
  Decoder decoder(std::int64_t prefixes) {
    return Decoder(
        cpu(), config_, weights_,
        {.tokens = 200, .sequences = 4, .guidance = true, .cache = true, .prefixes = prefixes});
  }
  DecodingRequest request(const Tokens& prompt, std::uint64_t seed) const {
    DecodingOptions o{.gen_length = 1 + std::int64_t(seed % 11), .temperature = 0.7, .seed = seed};
    if (config_.attention == Attention::block_causal) {
      const StrategyKind kinds[] = {StrategyKind::threshold, StrategyKind::fixed,
                                    StrategyKind::remdm, StrategyKind::edit};
      o.strategy = kinds[seed % 4];
      o.threshold = 0.1;
      if (seed % 9 == 0) o.cfg_scale = 1;
    }
    return {.tokens = prompt, .options = o};
  }

  const ModelConfig config_;
  ModelTensors weights_;
};

// Texts that begin alike, some of which are cancelled, in a cache that is too small for all of
// them: each is bit by bit what it is without.
TEST_P(Prefixes, TextsAreThoseWithoutThem) {
  Decoder alone = decoder(0);
  for (const std::int64_t prefixes : {7, 40, 300}) {
    Decoder together = decoder(prefixes);
    const CounterRng rng{std::uint64_t(prefixes), Purpose::remasking, 3};
    std::map<std::int64_t, DecodingRequest> asked;
    std::map<std::int64_t, std::int64_t> reused;
    std::int64_t saved = 0, compared = 0;
    std::vector<Tokens> known = {{}};
    for (std::uint32_t i = 0; i < 120; ++i) {
      const auto below = [&](std::uint32_t n, std::uint32_t k) {
        return std::uint32_t(rng.uniform53(8 * i + k) * n);
      };
      // Goes on with an earlier text, from somewhere.
      Tokens prompt = known[below(std::uint32_t(known.size()), 0)];
      prompt.resize(below(std::uint32_t(prompt.size()) + 1, 1));
      for (std::uint32_t more = 1 + below(9, 2); more > 0; --more)
        prompt.push_back(std::int32_t(1 + (i + more) % 5));
      if (prompt.size() > 40) prompt.resize(40);
      const DecodingRequest next = request(prompt, i);
      const std::int64_t id = together.add(next);
      asked[id] = next;
      const auto see = [&](const DecodingStep& step) {
        if (step.done == 1) saved += reused[step.id] = step.reused;
      };
      for (std::uint32_t steps = below(8, 3); steps > 0 && !together.idle(); --steps)
        together.step(see);
      if (below(5, 4) == 0) together.cancel(id);
      if (i == 119)
        while (!together.idle()) together.step(see);
      for (const DecodingResult& result : together.collect()) {
        const DecodingResult expected = decode(alone, {asked.at(result.id)})[0];
        ASSERT_EQ(result.tokens, expected.tokens) << i;
        ASSERT_EQ(result.probability, expected.probability) << i;
        known.push_back(result.tokens);
        ++compared;
      }
    }
    EXPECT_GT(compared, 60);
    EXPECT_GT(saved, prefixes > 10 ? 100 : 0);
  }
}

// A second question about the same text computes the rows behind it alone.
TEST_P(Prefixes, RowsThatAreKeptAreNotComputed) {
  Tokens prompt(24, 3);
  const auto rows = [&](std::int64_t prefixes) {
    Decoder texts = decoder(prefixes);
    DecodingRequest asked = request(prompt, 1);
    (void)decode(texts, {asked});
    const std::int64_t first = texts.stats().rows;
    asked.tokens.insert(asked.tokens.end(), {1, 2});
    (void)decode(texts, {asked});
    return texts.stats().rows - first;
  };
  EXPECT_LE(rows(100), rows(0) - 23);
}

INSTANTIATE_TEST_SUITE_P(Models, Prefixes,
                         ::testing::Values(Served{Attention::causal, false, false},
                                           Served{Attention::block_causal, false, false},
                                           Served{Attention::block_causal, true, false},
                                           Served{Attention::block_causal, true, true}));

}  // namespace
}  // namespace lacuna
