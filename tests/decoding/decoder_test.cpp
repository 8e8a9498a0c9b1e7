#include "decoding/decoder.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "decoding/generate.h"
#include "model/head.h"
#include "tests/support/oracle.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

using Tokens = std::vector<std::int32_t>;

const std::vector<double> kLogits = {0.0, 1.0, -0.5, 2.0, 0.5};
constexpr std::size_t kBest = 3;

DecodingOptions options(std::int64_t gen_length, std::int64_t steps, std::int64_t block_length) {
  DecodingOptions o;
  o.gen_length = gen_length;
  o.steps = steps;
  o.block_length = block_length;
  return o;
}

/// A random model, whose texts vary.
struct RandomModel {
  ModelConfig config;
  ModelTensors weights;
  explicit RandomModel(bool causal)
      : config(make_config(causal)), weights(cpu().memory(), config, "weights") {
    randomise(weights, 5);
  }
  static ModelConfig make_config(bool causal) {
    ModelConfig c = tiny_config(causal);
    c.max_seq_length = 64;
    c.mask_token = c.vocab_size - 1;
    c.eos_token = c.vocab_size - 2;
    return c;
  }
};

// --- distributions

// Random remasking chooses positions whatever they hold: all tokens are drawn from
// softmax(logits / temperature).
TEST(MaskedDraws, AreTheModelsDistributionAtTheTemperature) {
  const Oracle oracle(kLogits);
  const std::int64_t n = 2048, calls = 4;
  for (const double temperature : {0.5, 1.0, 2.0}) {
    DecodingOptions o = options(n, 4, n / 2);
    o.temperature = temperature;
    o.remasking = Remasking::random;
    Decoder sampler(cpu(), oracle.config, oracle.weights, {n * calls, calls});
    std::vector<std::int64_t> counts(kLogits.size());
    for (const Tokens& canvas : generate(sampler, std::vector<Tokens>(calls), o))
      for (const std::int32_t token : canvas) {
        ASSERT_LT(std::size_t(token), counts.size());
        ++counts[std::size_t(token)];
      }
    const std::vector<double> p = probabilities(kLogits, temperature);
    for (std::size_t v = 0; v < p.size(); ++v)
      EXPECT_TRUE(plausible(counts[v], n * calls, p[v])) << "token " << v << " at " << temperature;
  }
}

TEST(MaskedDraws, AtTemperatureZeroAreTheLikeliest) {
  const Oracle oracle(kLogits);
  Decoder sampler(cpu(), oracle.config, oracle.weights, {40, 1});
  for (const Remasking remasking : {Remasking::low_confidence, Remasking::random}) {
    DecodingOptions o = options(32, 8, 8);
    o.remasking = remasking;
    EXPECT_EQ(generate(sampler, {{}}, o)[0], Tokens(32, std::int32_t(kBest)));
  }
}

// Two positions, two steps, temperature 1. Each position draws from p. The first step keeps the
// draw that the model finds likelier (without noise), the lower position if they are equal; the
// second step draws once more.
TEST(MaskedDraws, LowConfidenceKeepsTheLikelierDraw) {
  const Oracle oracle(kLogits);
  const std::int64_t n = 4000;
  DecodingOptions o = options(2, 2, 2);
  o.temperature = 1;
  Decoder sampler(cpu(), oracle.config, oracle.weights, {2 * n, n});
  std::int64_t first_is_best = 0, second_is_best = 0, first_is_lower = 0;
  generate(sampler, std::vector<Tokens>(n), o, 0, [&](const DecodingStep& step) {
    ASSERT_EQ(step.committed.size(), 1u);
    const std::int32_t position = step.committed[0];
    const bool best = step.tokens[std::size_t(position)] == std::int32_t(kBest);
    (step.step == 0 ? first_is_best : second_is_best) += best;
    if (step.step == 0) first_is_lower += position == 0;
  });
  const std::vector<double> p = probabilities(kLogits, 1);
  double equal = 0;
  for (const double q : p) equal += q * q;
  EXPECT_TRUE(plausible(first_is_best, n, 1 - (1 - p[kBest]) * (1 - p[kBest])));
  EXPECT_TRUE(plausible(second_is_best, n, p[kBest]));
  EXPECT_TRUE(plausible(first_is_lower, n, equal + (1 - equal) / 2));
}

TEST(MaskedDraws, RandomRemaskingFillsAnyPosition) {
  const Oracle oracle(kLogits);
  const std::int64_t n = 4000, length = 6;
  DecodingOptions o = options(length, length, length);
  o.remasking = Remasking::random;
  Decoder sampler(cpu(), oracle.config, oracle.weights, {length * n, n});
  // counts[s][i]: how often step s filled position i. Each is a matter of chance 1/6.
  std::vector<std::vector<std::int64_t>> counts(length, std::vector<std::int64_t>(length));
  generate(sampler, std::vector<Tokens>(n), o, 0, [&](const DecodingStep& step) {
    ASSERT_EQ(step.committed.size(), 1u);
    ++counts[std::size_t(step.step)][std::size_t(step.committed[0])];
  });
  for (const auto& at_step : counts)
    for (const std::int64_t count : at_step) EXPECT_TRUE(plausible(count, n, 1.0 / double(length)));
}

TEST(AutoregressiveDraws, AreTheModelsDistributionAtTheTemperature) {
  const Oracle oracle(kLogits, Attention::causal);
  const std::int64_t length = 20, n = 400;
  DecodingOptions o;
  o.gen_length = length;
  for (const double temperature : {0.5, 1.5}) {
    o.temperature = temperature;
    Decoder sampler(cpu(), oracle.config, oracle.weights, {n * (length + 1), n});
    std::vector<std::int64_t> counts(kLogits.size());
    for (const Tokens& text : generate(sampler, std::vector<Tokens>(n, Tokens{1}), o)) {
      ASSERT_EQ(text.size(), std::size_t(length + 1));
      for (std::size_t i = 1; i < text.size(); ++i) ++counts[std::size_t(text[i])];
    }
    const std::vector<double> p = probabilities(kLogits, temperature);
    for (std::size_t v = 0; v < p.size(); ++v)
      EXPECT_TRUE(plausible(counts[v], n * length, p[v])) << "token " << v << " at " << temperature;
  }
}

// --- independence

class AnyDecoder : public ::testing::TestWithParam<bool> {
 protected:
  RandomModel model_{GetParam()};
  const std::vector<Tokens> prompts_ = {{1, 2, 3}, {4}, {5, 6, 7, 8, 9, 10}, {}, {11, 12}};

  DecodingOptions noisy() const {
    DecodingOptions o = options(16, 8, 8);
    o.temperature = 1;
    o.remasking = Remasking::random;
    o.seed = 3;
    return o;
  }
  Decoder decoder(std::int64_t sequences, bool guidance = false) {
    return Decoder(cpu(), model_.config, model_.weights, {sequences * 22, sequences, guidance});
  }
  std::vector<Tokens> texts(const std::vector<Tokens>& prompts, const DecodingOptions& o,
                            std::int64_t first_sample = 0) {
    Decoder fresh = decoder(std::int64_t(prompts.size()));
    return generate(fresh, prompts, o, first_sample);
  }
};

TEST_P(AnyDecoder, ATextDoesNotDependOnThoseBesideIt) {
  const std::vector<Tokens> together = texts(prompts_, noisy());
  for (std::size_t i = 0; i < prompts_.size(); ++i)
    EXPECT_EQ(texts({prompts_[i]}, noisy(), std::int64_t(i))[0], together[i]) << i;
  const std::vector<Tokens> tail = texts({prompts_[3], prompts_[4]}, noisy(), 3);
  EXPECT_EQ(tail[0], together[3]);
  EXPECT_EQ(tail[1], together[4]);
}

TEST_P(AnyDecoder, TheSameSeedGivesTheSameTextAndAnotherADifferentOne) {
  DecodingOptions o = noisy();
  const std::vector<Tokens> first = texts(prompts_, o);
  EXPECT_EQ(texts(prompts_, o), first);
  o.seed = 4;
  EXPECT_NE(texts(prompts_, o), first);
  const std::vector<Tokens> same_prompt = texts(std::vector<Tokens>(4, {1, 2}), o);
  EXPECT_EQ(std::set<Tokens>(same_prompt.begin(), same_prompt.end()).size(), 4u);
}

TEST_P(AnyDecoder, ThreadsDoNotMatter) {
  CpuOps one(1), three(3);
  const auto text = [&](Ops& ops) {
    Decoder decoder(ops, model_.config, model_.weights, {5 * 22, 5});
    return generate(decoder, prompts_, noisy());
  };
  EXPECT_EQ(text(one), text(three));
}

TEST_P(AnyDecoder, LimitsAreNamed) {
  const auto error = [&](std::int64_t sequences, const Tokens& prompt, const DecodingOptions& o) {
    Decoder some = decoder(sequences);
    return error_of([&] { generate(some, {prompt}, o); });
  };
  EXPECT_TRUE(contains(error(1, {1}, options(22, 22, 22)), "23 tokens where at most 22"));
  EXPECT_TRUE(contains(error(9, {1, 2}, options(63, 63, 63)), "model.max_seq_length 64"));
  EXPECT_TRUE(contains(error(1, {99}, noisy()), "99"));
}

TEST_P(AnyDecoder, DamagedWeightsAreNoticed) {
  model_.weights.final_norm.as<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(contains(error_of([&] { texts({{1}}, noisy()); }), "not finite"));
}

// Requests of every kind, of which only some fit at once: each gets the tokens it gets alone.
TEST_P(AnyDecoder, RequestsThatDifferInEverythingShareTheirPasses) {
  const bool causal = GetParam();
  const auto mask = std::int32_t(model_.config.mask_token);
  std::vector<DecodingRequest> requests;
  for (const Tokens& prompt : prompts_) {
    DecodingRequest r{.tokens = prompt, .options = noisy()};
    const auto i = std::int64_t(requests.size());
    r.sample = 10 - i;
    r.options.seed = std::uint64_t(i % 2);
    r.options.temperature = 0.5 * double(i % 3);
    r.options.gen_length = 4 * (1 + i % 4);
    r.options.block_length = i % 2 ? 0 : 4;
    r.options.steps = i % 3 ? 0 : r.options.gen_length / 2;
    r.options.remasking = i % 2 ? Remasking::random : Remasking::low_confidence;
    r.options.cfg_scale = i % 3 == 1 ? 0.5 * double(i) : 0;
    requests.push_back(r);
    if (causal) continue;
    r.infill = true;
    r.options.cfg_scale = 0;
    r.tokens.insert(r.tokens.end(), {mask, 3, mask, mask, 4});
    requests.push_back(r);
  }
  for (const std::int64_t sequences : {1, 2, 3, 20}) {
    Decoder some = decoder(sequences, true);
    const std::vector<DecodingResult> together = decode(some, requests);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      Decoder alone = decoder(1, true);
      EXPECT_EQ(decode(alone, {requests[i]})[0].tokens, together[i].tokens)
          << i << " of " << sequences;
    }
  }
}

TEST_P(AnyDecoder, TextsLeaveAsTheyAreDoneAndOthersTakeTheirPlace) {
  Decoder some = decoder(2);
  std::vector<std::int64_t> ids;
  for (const std::int64_t length : {4, 16, 8})
    ids.push_back(some.add({.tokens = {1}, .options = {.gen_length = length}}));
  const std::int64_t cancelled = some.add({.tokens = {2}, .options = {.gen_length = 4}});
  some.cancel(cancelled);
  EXPECT_TRUE(contains(error_of([&] { (void)some.state(cancelled); }), "neither queued"));
  EXPECT_EQ(some.state(ids[1]).done, 0);
  EXPECT_EQ(some.state(ids[1]).of, 16);
  std::vector<std::int64_t> order, passes;
  std::int64_t pass = 0;
  while (!some.idle()) {
    some.step();
    ++pass;
    for (const DecodingResult& result : some.collect()) {
      order.push_back(result.id);
      passes.push_back(pass);
    }
  }
  // The third begins in the fifth pass. None of them meets an end token.
  EXPECT_EQ(order, (std::vector<std::int64_t>{ids[0], ids[2], ids[1]}));
  EXPECT_EQ(passes, (std::vector<std::int64_t>{4, 12, 16}));
}

// A request that is refused, and a pass that fails, leave nothing behind.
TEST_P(AnyDecoder, AfterAnErrorADecoderIsIdle) {
  Decoder some = decoder(2);
  EXPECT_NE(error_of([&] { generate(some, {{1}, Tokens(60, 1)}, noisy()); }), "");
  EXPECT_TRUE(some.idle());
  EXPECT_NE(error_of([&] { generate(some, {{1}, {99}, {2}}, noisy()); }), "");
  EXPECT_TRUE(some.idle());
  EXPECT_EQ(generate(some, {{4}}, noisy()), texts({{4}}, noisy()));
}

INSTANTIATE_TEST_SUITE_P(Attention, AnyDecoder, ::testing::Bool(),
                         [](const auto& p) { return p.param ? "Causal" : "Full"; });

// --- the loop

TEST(MaskedDecoding, FillsBlocksInOrderByTheSchedule) {
  const RandomModel model(false);
  DecodingOptions o = options(20, 8, 10);  // 4 steps a block: 3, 3, 2, 2
  o.temperature = 0.7;
  const Tokens prompt = {3, 1, 4};
  Decoder sampler(cpu(), model.config, model.weights, {23, 1});
  std::int64_t calls = 0;
  std::set<std::int32_t> filled;
  const Tokens canvas = generate(sampler, {prompt}, o, 0, [&](const DecodingStep& step) {
    EXPECT_EQ(step.id, 0);
    EXPECT_EQ(step.block, calls / 4);
    EXPECT_EQ(step.step, calls % 4);
    ++calls;
    EXPECT_EQ(step.committed.size(), step.step < 2 ? 3u : 2u);
    for (const std::int32_t i : step.committed) {
      EXPECT_GE(i, 3 + step.block * 10);
      EXPECT_LT(i, 3 + (step.block + 1) * 10);
      EXPECT_TRUE(filled.insert(i).second) << "position " << i << " was filled twice";
      EXPECT_NE(step.tokens[std::size_t(i)], model.config.mask_token);
    }
  })[0];
  EXPECT_EQ(calls, 8);
  EXPECT_EQ(filled.size(), 20u);
  EXPECT_EQ(Tokens(canvas.begin(), canvas.begin() + 3), prompt);
}

// An oracle that knows only the mask token: nothing is ever filled, and the loop still ends.
TEST(MaskedDecoding, AModelThatPredictsOnlyMasksLeavesThem) {
  Oracle oracle({0, 0, 0});
  oracle.weights.head.as<float>()[oracle.config.mask_token * oracle.config.hidden_size] = 5;
  Decoder sampler(cpu(), oracle.config, oracle.weights, {8, 1});
  std::int64_t steps = 0;
  const Tokens canvas =
      generate(sampler, {{1, 0}}, options(6, 6, 2), 0, [&](const DecodingStep& step) {
        EXPECT_TRUE(step.committed.empty());
        ++steps;
      })[0];
  EXPECT_EQ(steps, 6);
  EXPECT_EQ(canvas, (Tokens{1, 0, 3, 3, 3, 3, 3, 3}));
}

TEST(MaskedDecoding, ManyRowsTakeSeveralChunksOfTheHead) {
  ModelConfig config = RandomModel::make_config(false);
  config.vocab_size = 1 << 18;
  config.hidden_size = 4;
  config.num_heads = config.num_kv_heads = 1;
  config.intermediate_size = 4;
  config.num_layers = 1;
  ASSERT_EQ(head_chunk_rows(config), 64);
  ModelTensors weights(cpu().memory(), config, "weights");
  randomise(weights, 2);
  DecodingOptions o = options(40, 2, 40);
  o.cfg_scale = 0.5;
  const std::vector<Tokens> prompts = {{1, 2, 3}, {4, 5}};
  Decoder together(cpu(), config, weights, {85, 2, true});  // 80 rows: two chunks
  Decoder alone(cpu(), config, weights, {43, 1, true});     // 40 rows: one
  const std::vector<Tokens> canvases = generate(together, prompts, o);
  for (std::size_t i = 0; i < prompts.size(); ++i)
    EXPECT_EQ(generate(alone, {prompts[i]}, o)[0], canvases[i]) << i;
}

TEST(MaskedDecoding, GuidanceNeedsRoom) {
  const RandomModel model(false);
  DecodingOptions o = options(4, 4, 4);
  o.cfg_scale = 1;
  Decoder without(cpu(), model.config, model.weights, {8, 1});
  EXPECT_TRUE(contains(error_of([&] { generate(without, {{1}}, o); }), "guidance"));
  Decoder with(cpu(), model.config, model.weights, {5, 1, true});
  EXPECT_EQ(generate(with, {{1}}, o)[0].size(), 5u);
  // Without a prompt both branches are the same: guidance changes nothing.
  o = options(4, 2, 4);
  o.temperature = 1;
  const Tokens plain = generate(with, {{}}, o)[0];
  o.cfg_scale = 3;
  EXPECT_EQ(generate(with, {{}}, o)[0], plain);
}

TEST(MaskedDecoding, NeedsAMaskToken) {
  RandomModel model(false);
  for (const std::int64_t token : {std::int64_t{-1}, model.config.vocab_size}) {
    model.config.mask_token = token;
    EXPECT_TRUE(contains(error_of<UsageError>([&] {
                           Decoder(cpu(), model.config, model.weights, {8, 1});
                         }),
                         "model.mask_token"));
  }
}

TEST(AutoregressiveDecoding, StopsAtTheEndTokenAndShowsItsGrowth) {
  // The likeliest token is the end token.
  Oracle oracle({0, 3, 1}, Attention::causal);
  oracle.config.eos_token = 1;
  Decoder sampler(cpu(), oracle.config, oracle.weights, {30, 2});
  DecodingOptions o;
  o.gen_length = 10;
  std::int64_t calls = 0;
  const auto texts = generate(sampler, {{2, 2}, {}}, o, 0, [&](const DecodingStep& step) {
    EXPECT_EQ(step.step, 0);
    EXPECT_EQ(step.tokens.size(), step.id == 0 ? 3u : 1u);
    ASSERT_EQ(step.committed.size(), 1u);
    EXPECT_EQ(step.committed[0], std::int32_t(step.tokens.size()) - 1);
    ++calls;
  });
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(texts[0], (Tokens{2, 2, 1}));
  EXPECT_EQ(texts[1], (Tokens{1}));
  oracle.config.eos_token = -1;
  Decoder endless(cpu(), oracle.config, oracle.weights, {30, 1});
  EXPECT_EQ(generate(endless, {{2}}, o)[0].size(), 11u);
  EXPECT_TRUE(contains(error_of<UsageError>([&] { generate(endless, {{}}, o); }), "prompt"));
}

}  // namespace
}  // namespace lacuna
