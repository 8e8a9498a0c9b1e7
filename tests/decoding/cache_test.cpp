// Decoding with a KV cache against decoding without.
#include <gtest/gtest.h>

#include "decoding/generate.h"
#include "tests/support/oracle.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

using Tokens = std::vector<std::int32_t>;

constexpr std::int64_t kBlock = 4, kLength = 16;

/// A random model, whose texts vary.
struct Random {
  ModelConfig config;
  ModelTensors weights;
  explicit Random(Attention attention, bool causal_context = false, bool logits_shift = false,
                  DType type = DType::f32)
      : config(make_config(attention, causal_context, logits_shift)),
        weights(cpu().memory(), config, "weights", type) {
    ModelTensors f32(cpu().memory(), config, "weights");
    randomise(f32, 5);
    cpu().copy(weights.flat(), f32.flat());
  }
  static ModelConfig make_config(Attention attention, bool causal_context, bool logits_shift) {
    ModelConfig c = tiny_config();
    c.attention = attention;
    c.max_seq_length = 64;
    c.mask_token = c.vocab_size - 1;
    c.eos_token = attention == Attention::causal || logits_shift ? c.vocab_size - 2 : -1;
    c.logits_shift = logits_shift;
    c.block_size = attention == Attention::block_causal ? kBlock : 0;
    c.causal_context = causal_context;
    return c;
  }
};

const std::vector<Tokens> kPrompts = {{1, 2, 3}, {4}, {5, 6, 7, 8, 9, 10}, {}, {11, 12, 13, 14}};

const std::vector<StrategyKind> kStrategies = {
    StrategyKind::fixed,  StrategyKind::threshold, StrategyKind::dynamic,
    StrategyKind::factor, StrategyKind::entropy,   StrategyKind::margin,
    StrategyKind::remdm,  StrategyKind::wino,      StrategyKind::edit};

DecodingOptions options(StrategyKind strategy, CacheKind cache) {
  DecodingOptions o;
  o.gen_length = kLength;
  o.block_length = kBlock;
  o.strategy = strategy;
  o.cache = cache;
  o.temperature = 0.7;
  o.seed = 3;
  o.threshold = 0.3;  // of tokens that a random model predicts, some
  o.remask_rate = 0.3;
  return o;
}

struct Texts {
  std::vector<DecodingResult> results;
  DecodingStats stats;
};

Texts decoded(const Random& model, const std::vector<DecodingRequest>& requests,
              std::int64_t at_once) {
  DecoderLimits limits{};
  for (const DecodingRequest& r : requests) {
    const auto own = limits_for(model.config, r.options, std::int64_t(r.tokens.size()));
    limits.tokens = std::max(limits.tokens, own.tokens);
    limits.guidance |= own.guidance;
    limits.cache |= own.cache;
  }
  limits.tokens *= at_once;
  limits.sequences = at_once;
  Decoder decoder(cpu(), model.config, model.weights, limits);
  std::vector<DecodingResult> results = decode(decoder, requests);
  return {std::move(results), decoder.stats()};
}

std::vector<DecodingRequest> requests(const DecodingOptions& o) {
  std::vector<DecodingRequest> all;
  for (const Tokens& prompt : kPrompts)
    all.push_back({.tokens = prompt, .options = o, .sample = std::int64_t(all.size())});
  return all;
}

/// Tokens, when each was committed and with what probability: the same bits.
void expect_same(const std::vector<DecodingResult>& a, const std::vector<DecodingResult>& b,
                 const std::string& where) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].tokens, b[i].tokens) << where << ", text " << i;
    EXPECT_EQ(a[i].committed_at, b[i].committed_at) << where << ", text " << i;
    EXPECT_EQ(a[i].probability, b[i].probability) << where << ", text " << i;
  }
}

TEST(ExactCache, ACausalModelGetsTheSameTokens) {
  const Random model(Attention::causal);
  DecodingOptions o = options(StrategyKind::automatic, CacheKind::none);
  const Texts without = decoded(model, requests(o), 2);
  o.cache = CacheKind::prefix;
  const Texts with = decoded(model, requests(o), 2);
  expect_same(with.results, without.results, "causal");
  // Of each text all rows but its last, once; before an empty prompt, one row. Without a cache,
  // those before it again for each token.
  std::int64_t rows = 0, again = 0;
  for (std::size_t i = 0; i < kPrompts.size(); ++i) {
    const std::int64_t before = std::max<std::int64_t>(1, std::int64_t(kPrompts[i].size())),
                       tokens = std::int64_t(with.results[i].tokens.size() - kPrompts[i].size());
    rows += before + tokens - 1;
    again += tokens * before + tokens * (tokens - 1) / 2;
  }
  EXPECT_EQ(with.stats.rows, rows);
  EXPECT_EQ(without.stats.rows, again);
  EXPECT_EQ(with.stats.passes, without.stats.passes);
}

TEST(ExactCache, ABlockCausalModelGetsTheSameTokensByEveryStrategy) {
  for (const bool causal_context : {false, true}) {
    const Random model(Attention::block_causal, causal_context);
    for (const StrategyKind strategy : kStrategies) {
      DecodingOptions o = options(strategy, CacheKind::none);
      const Texts without = decoded(model, requests(o), 2);
      o.cache = CacheKind::prefix;
      const Texts with = decoded(model, requests(o), 2);
      expect_same(with.results, without.results, word_of(strategy));
      EXPECT_LT(with.stats.rows, without.stats.rows);
      for (const DecodingResult& r : with.results)
        for (const std::int32_t token : r.tokens) EXPECT_NE(token, model.config.mask_token);
    }
  }
}

// Of a model that predicts a token at the row before it, that row belongs to each pass.
TEST(ExactCache, ABlockCausalModelWithShiftedLogitsGetsTheSameTokens) {
  const Random model(Attention::block_causal, false, true);
  for (const StrategyKind strategy : kStrategies) {
    if (strategy == StrategyKind::wino) continue;
    DecodingOptions o = options(strategy, CacheKind::none);
    const Texts without = decoded(model, requests(o), 2);
    o.cache = CacheKind::prefix;
    const Texts with = decoded(model, requests(o), 2);
    expect_same(with.results, without.results, word_of(strategy));
    EXPECT_LT(with.stats.rows, without.stats.rows);
  }
}

// One pass per token. Of a prompt of 6: rows [0, 8), then [4, 8) again, and so on; the first pass
// of a block computes the block before it once more.
TEST(ExactCache, ABlockCausalModelComputesEachBlockAndOnceMore) {
  const Random model(Attention::block_causal);
  DecodingOptions o = options(StrategyKind::fixed, CacheKind::prefix);
  o.gen_length = 10;
  const Texts texts = decoded(model, {{.tokens = {5, 6, 7, 8, 9, 10}, .options = o}}, 1);
  EXPECT_EQ(texts.stats.passes, 10);
  EXPECT_EQ(texts.stats.rows, 8 + 4 + 2 * (8 + 3 * 4));
  EXPECT_EQ(texts.stats.logit_rows, 2 + 1 + 2 * (4 + 3 + 2 + 1));
  EXPECT_EQ(texts.stats.tokens, 10);
  EXPECT_EQ(texts.results[0].tokens.size(), 16u);
}

// What is behind the block cannot matter to a block-causal model: the text of 16 tokens begins as
// the text of 8.
TEST(ExactCache, TheLengthOfAnAnswerDoesNotChangeItsBeginning) {
  const Random model(Attention::block_causal);
  DecodingOptions o = options(StrategyKind::threshold, CacheKind::prefix);
  const Tokens whole = decoded(model, {{.tokens = {1, 2}, .options = o}}, 1).results[0].tokens;
  o.gen_length = 7;
  const Tokens part = decoded(model, {{.tokens = {1, 2}, .options = o}}, 1).results[0].tokens;
  EXPECT_EQ(part, Tokens(whole.begin(), whole.begin() + 9));
}

class ApproximateCaches : public ::testing::TestWithParam<bool> {};

TEST_P(ApproximateCaches, RefreshedInEveryPassAreNone) {
  const Random model(Attention::bidirectional, false, GetParam());
  for (const double scale : {0.0, 0.5})
    for (const StrategyKind strategy : kStrategies) {
      if (GetParam() && strategy == StrategyKind::wino) continue;
      DecodingOptions o = options(strategy, CacheKind::none);
      o.cfg_scale = scale;
      const Texts without = decoded(model, requests(o), 2);
      o.refresh_every = 1;
      for (const CacheKind cache : {CacheKind::prefix, CacheKind::dual, CacheKind::vicinity}) {
        o.cache = cache;
        const Texts with = decoded(model, requests(o), 2);
        expect_same(with.results, without.results,
                    str(word_of(strategy), ", ", word_of(cache), ", cfg_scale ", scale));
        EXPECT_EQ(with.stats.rows, without.stats.rows);
      }
    }
}

INSTANTIATE_TEST_SUITE_P(Logits, ApproximateCaches, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "shifted" : "own"; });

// A vicinity as large as the text is no approximation either.
TEST(ApproximateCache, AVicinityOfEverythingIsNone) {
  const Random model(Attention::bidirectional);
  DecodingOptions o = options(StrategyKind::threshold, CacheKind::none);
  const Texts without = decoded(model, requests(o), 2);
  o.cache = CacheKind::vicinity;
  o.vicinity = 64;
  expect_same(decoded(model, requests(o), 2).results, without.results, "vicinity");
}

TEST(ApproximateCache, RowsAndRefreshesAreCounted) {
  const Random model(Attention::bidirectional);
  // Prompt 3, 16 tokens in 4 blocks of 4, one per pass.
  const auto rows = [&](CacheKind cache, std::int64_t every) {
    DecodingOptions o = options(StrategyKind::fixed, cache);
    o.refresh_every = every;
    o.vicinity = 2;
    const Texts texts = decoded(model, {{.tokens = {1, 2, 3}, .options = o}}, 1);
    EXPECT_EQ(texts.stats.passes, 16);
    EXPECT_EQ(texts.stats.refreshes, cache == CacheKind::none ? 0 : every == 2 ? 8 : 4);
    return texts.stats.rows;
  };
  EXPECT_EQ(rows(CacheKind::none, 0), 16 * 19);
  EXPECT_EQ(rows(CacheKind::dual, 0), 4 * (19 + 3 * 4));
  EXPECT_EQ(rows(CacheKind::dual, 2), 4 * 2 * (19 + 4));
  EXPECT_EQ(rows(CacheKind::prefix, 0), 4 * 19 + 3 * (16 + 12 + 8 + 4));
  EXPECT_EQ(rows(CacheKind::vicinity, 0), 4 * 19 + 3 * (8 + 8 + 8 + 6));
}

// Requests of every kind, of which only some fit at once: each gets the tokens it gets alone.
void expect_independent(const Random& model, const std::vector<DecodingRequest>& requests) {
  for (const std::int64_t at_once : {2, 3, 20}) {
    const Texts together = decoded(model, requests, at_once);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const Texts alone = decoded(model, {requests[i]}, 1);
      expect_same({together.results[i]}, alone.results, str(i, " of ", at_once));
    }
  }
}

class Batches : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, Batches, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& type) { return std::string(name_of(type.param)); });

TEST_P(Batches, EachTextGetsWhatItGetsAlone) {
  const Random model(Attention::bidirectional, false, false, GetParam());
  std::vector<DecodingRequest> all;
  const CacheKind caches[] = {CacheKind::none, CacheKind::prefix, CacheKind::dual,
                              CacheKind::vicinity};
  for (std::size_t i = 0; i < 2 * kStrategies.size(); ++i) {
    DecodingRequest r{.tokens = kPrompts[i % kPrompts.size()],
                      .options = options(kStrategies[i % kStrategies.size()], caches[i % 4]),
                      .sample = std::int64_t(i % 3)};
    r.options.seed = i;
    r.options.gen_length = kBlock * std::int64_t(1 + i % 4);
    r.options.temperature = 0.5 * double(i % 3);
    r.options.cfg_scale = i % 5 == 1 ? 0.5 : 0;
    r.options.refresh_every = i % 3 == 0 ? 2 : 0;
    all.push_back(r);
  }
  expect_independent(model, all);
}

TEST_P(Batches, OfABlockCausalModelToo) {
  const Random model(Attention::block_causal, false, false, GetParam());
  std::vector<DecodingRequest> all;
  for (std::size_t i = 0; i < 2 * kStrategies.size(); ++i) {
    DecodingRequest r{.tokens = kPrompts[i % kPrompts.size()],
                      .options = options(kStrategies[i % kStrategies.size()], CacheKind::prefix),
                      .sample = std::int64_t(i % 3)};
    r.options.gen_length = std::int64_t(3 + 2 * (i % 5));
    all.push_back(r);
  }
  expect_independent(model, all);
}

TEST(Cache, NeedsADecoderThatHasOne) {
  const Random model(Attention::bidirectional);
  Decoder decoder(cpu(), model.config, model.weights, {40, 1});
  EXPECT_TRUE(contains(
      error_of([&] { generate(decoder, {{1}}, options(StrategyKind::fixed, CacheKind::dual)); }),
      "a cache (dual) of a decoder that was made without one"));
  EXPECT_TRUE(decoder.idle());
}

// A text that is cancelled, and one that fails, give back their part of the cache.
TEST(Cache, IsGivenBack) {
  const Random model(Attention::bidirectional);
  const DecodingOptions o = options(StrategyKind::fixed, CacheKind::dual);
  Decoder decoder(cpu(), model.config, model.weights, limits_for(model.config, o, 1));
  for (int i = 0; i < 3; ++i) {
    const std::int64_t id = decoder.add({.tokens = {1}, .options = o});
    decoder.step();
    decoder.cancel(id);
    EXPECT_TRUE(decoder.idle());
  }
  EXPECT_NE(error_of([&] { generate(decoder, {{99}}, o); }), "");
  EXPECT_EQ(generate(decoder, {{1}}, o)[0].size(), 17u);
}

}  // namespace
}  // namespace lacuna
