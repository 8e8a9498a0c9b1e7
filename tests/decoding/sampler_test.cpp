#include "decoding/sampler.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "decoding/autoregressive.h"
#include "model/head.h"
#include "tests/support/oracle.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

using Tokens = std::vector<std::int32_t>;

const std::vector<double> kLogits = {0.0, 1.0, -0.5, 2.0, 0.5};
constexpr std::size_t kBest = 3;

SamplerOptions options(std::int64_t gen_length, std::int64_t steps, std::int64_t block_length) {
  SamplerOptions o;
  o.gen_length = gen_length;
  o.steps = steps;
  o.block_length = block_length;
  return o;
}

/// A random model, whose texts vary.
struct Random {
  ModelConfig config;
  ModelTensors weights;
  explicit Random(bool causal)
      : config(make_config(causal)), weights(cpu().memory(), config, "weights") {
    randomise(weights, 5);
  }
  static ModelConfig make_config(bool causal) {
    ModelConfig c = tiny_config(causal);
    c.max_length = 64;
    c.mask_token = c.vocab_size - 1;
    c.eos_token = c.vocab_size - 2;
    return c;
  }
};

// --- distributions
// ---------------------------------------------------------------------------------

// Random remasking chooses positions whatever they hold: all tokens are drawn from
// softmax(logits / temperature).
TEST(SamplerDraws, AreTheModelsDistributionAtTheTemperature) {
  const Oracle oracle(kLogits);
  const std::int64_t n = 2048, calls = 4;
  for (const double temperature : {0.5, 1.0, 2.0}) {
    SamplerOptions o = options(n, 4, n / 2);
    o.temperature = temperature;
    o.remasking = Remasking::random;
    Sampler sampler(cpu(), oracle.config, oracle.weights, {n * calls, calls});
    std::vector<std::int64_t> counts(kLogits.size());
    for (const Tokens& canvas : sampler.generate(std::vector<Tokens>(calls), o))
      for (const std::int32_t token : canvas) {
        ASSERT_LT(std::size_t(token), counts.size());
        ++counts[std::size_t(token)];
      }
    const std::vector<double> p = probabilities(kLogits, temperature);
    for (std::size_t v = 0; v < p.size(); ++v)
      EXPECT_TRUE(plausible(counts[v], n * calls, p[v])) << "token " << v << " at " << temperature;
  }
}

TEST(SamplerDraws, AtTemperatureZeroAreTheLikeliest) {
  const Oracle oracle(kLogits);
  Sampler sampler(cpu(), oracle.config, oracle.weights, {40, 1});
  for (const Remasking remasking : {Remasking::low_confidence, Remasking::random}) {
    SamplerOptions o = options(32, 8, 8);
    o.remasking = remasking;
    EXPECT_EQ(sampler.generate({{}}, o)[0], Tokens(32, std::int32_t(kBest)));
  }
}

// Two positions, two steps, temperature 1. Each position draws from p. The first step keeps the
// draw that the model finds likelier (without noise), the lower position if they are equal; the
// second step draws once more.
TEST(SamplerDraws, LowConfidenceKeepsTheLikelierDraw) {
  const Oracle oracle(kLogits);
  const std::int64_t n = 4000;
  SamplerOptions o = options(2, 2, 2);
  o.temperature = 1;
  Sampler sampler(cpu(), oracle.config, oracle.weights, {2 * n, n});
  std::int64_t first_is_best = 0, second_is_best = 0, first_is_lower = 0;
  sampler.generate(std::vector<Tokens>(n), o, [&](const CanvasStep& step) {
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

TEST(SamplerDraws, RandomRemaskingFillsAnyPosition) {
  const Oracle oracle(kLogits);
  const std::int64_t n = 4000, length = 6;
  SamplerOptions o = options(length, length, length);
  o.remasking = Remasking::random;
  Sampler sampler(cpu(), oracle.config, oracle.weights, {length * n, n});
  // counts[s][i]: how often step s filled position i. Each is a matter of chance 1/6.
  std::vector<std::vector<std::int64_t>> counts(length, std::vector<std::int64_t>(length));
  sampler.generate(std::vector<Tokens>(n), o, [&](const CanvasStep& step) {
    ASSERT_EQ(step.committed.size(), 1u);
    ++counts[std::size_t(step.step)][std::size_t(step.committed[0])];
  });
  for (const auto& at_step : counts)
    for (const std::int64_t count : at_step) EXPECT_TRUE(plausible(count, n, 1.0 / double(length)));
}

TEST(AutoregressiveDraws, AreTheModelsDistributionAtTheTemperature) {
  const Oracle oracle(kLogits, Attention::causal);
  const std::int64_t length = 20, n = 400;
  SamplerOptions o;
  o.gen_length = length;
  for (const double temperature : {0.5, 1.5}) {
    o.temperature = temperature;
    AutoregressiveSampler sampler(cpu(), oracle.config, oracle.weights, {n * (length + 1), n});
    std::vector<std::int64_t> counts(kLogits.size());
    for (const Tokens& text : sampler.generate(std::vector<Tokens>(n, Tokens{1}), o)) {
      ASSERT_EQ(text.size(), std::size_t(length + 1));
      for (std::size_t i = 1; i < text.size(); ++i) ++counts[std::size_t(text[i])];
    }
    const std::vector<double> p = probabilities(kLogits, temperature);
    for (std::size_t v = 0; v < p.size(); ++v)
      EXPECT_TRUE(plausible(counts[v], n * length, p[v])) << "token " << v << " at " << temperature;
  }
}

// --- independence
// ----------------------------------------------------------------------------------

class AnySampler : public ::testing::TestWithParam<bool> {
 protected:
  Random model_{GetParam()};
  const std::vector<Tokens> prompts_ = {{1, 2, 3}, {4}, {5, 6, 7, 8, 9, 10}, {}, {11, 12}};

  SamplerOptions noisy() const {
    SamplerOptions o = options(16, 8, 8);
    o.temperature = 1;
    o.remasking = Remasking::random;
    o.seed = 3;
    return o;
  }
  std::unique_ptr<TextSampler> sampler(std::int64_t sequences, bool guidance = false) {
    return make_sampler(cpu(), model_.config, model_.weights,
                        {sequences * 22, sequences, guidance});
  }
};

TEST_P(AnySampler, IsTheRightOne) {
  EXPECT_EQ(dynamic_cast<AutoregressiveSampler*>(sampler(1).get()) != nullptr, GetParam());
}

TEST_P(AnySampler, ATextDoesNotDependOnThoseBesideIt) {
  SamplerOptions o = noisy();
  const std::vector<Tokens> together = sampler(5)->generate(prompts_, o);
  for (std::size_t i = 0; i < prompts_.size(); ++i) {
    o.first_sample = std::int64_t(i);
    EXPECT_EQ(sampler(1)->generate({prompts_[i]}, o)[0], together[i]) << i;
  }
  o.first_sample = 3;
  const std::vector<Tokens> tail = sampler(2)->generate({prompts_[3], prompts_[4]}, o);
  EXPECT_EQ(tail[0], together[3]);
  EXPECT_EQ(tail[1], together[4]);
}

TEST_P(AnySampler, TheSameSeedGivesTheSameTextAndAnotherADifferentOne) {
  SamplerOptions o = noisy();
  const std::vector<Tokens> first = sampler(5)->generate(prompts_, o);
  EXPECT_EQ(sampler(5)->generate(prompts_, o), first);
  o.seed = 4;
  EXPECT_NE(sampler(5)->generate(prompts_, o), first);
  const std::vector<Tokens> same_prompt = sampler(4)->generate(std::vector<Tokens>(4, {1, 2}), o);
  EXPECT_EQ(std::set<Tokens>(same_prompt.begin(), same_prompt.end()).size(), 4u);
}

TEST_P(AnySampler, ThreadsDoNotMatter) {
  CpuOps one(1), three(3);
  const auto text = [&](Ops& ops) {
    return make_sampler(ops, model_.config, model_.weights, {5 * 22, 5})
        ->generate(prompts_, noisy());
  };
  EXPECT_EQ(text(one), text(three));
}

TEST_P(AnySampler, LimitsAreNamed) {
  const auto error = [&](std::int64_t sequences, const std::vector<Tokens>& prompts,
                         const SamplerOptions& o) {
    return error_of([&] { sampler(sequences)->generate(prompts, o); });
  };
  EXPECT_TRUE(contains(error(1, {{1}, {2}}, noisy()), "at most 1"));
  EXPECT_TRUE(contains(error(1, {{1}}, options(22, 22, 22)), "23 tokens where at most 22"));
  EXPECT_TRUE(contains(error(9, {{1, 2}}, options(63, 63, 63)), "model.max_length 64"));
  EXPECT_TRUE(contains(error(1, {{99}}, noisy()), "99"));
}

TEST_P(AnySampler, DamagedWeightsAreNoticed) {
  model_.weights.final_norm.as<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(contains(error_of([&] { sampler(1)->generate({{1}}, noisy()); }), "not finite"));
}

INSTANTIATE_TEST_SUITE_P(Attention, AnySampler, ::testing::Bool(),
                         [](const auto& p) { return p.param ? "Causal" : "Full"; });

// --- the loop
// --------------------------------------------------------------------------------------

TEST(Sampler, FillsBlocksInOrderByTheSchedule) {
  const Random model(false);
  SamplerOptions o = options(20, 8, 10);  // 4 steps a block: 3, 3, 2, 2
  o.temperature = 0.7;
  const Tokens prompt = {3, 1, 4};
  Sampler sampler(cpu(), model.config, model.weights, {23, 1});
  std::int64_t calls = 0;
  std::set<std::int32_t> filled;
  const Tokens canvas = sampler.generate({prompt}, o, [&](const CanvasStep& step) {
    EXPECT_EQ(step.sequence, 0);
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
TEST(Sampler, AModelThatPredictsOnlyMasksLeavesThem) {
  Oracle oracle({0, 0, 0});
  oracle.weights.head.as<float>()[oracle.config.mask_token * oracle.config.width] = 5;
  Sampler sampler(cpu(), oracle.config, oracle.weights, {8, 1});
  std::int64_t steps = 0;
  const Tokens canvas = sampler.generate({{1, 0}}, options(6, 6, 2), [&](const CanvasStep& step) {
    EXPECT_TRUE(step.committed.empty());
    ++steps;
  })[0];
  EXPECT_EQ(steps, 6);
  EXPECT_EQ(canvas, (Tokens{1, 0, 3, 3, 3, 3, 3, 3}));
}

TEST(Sampler, ManyRowsTakeSeveralChunksOfTheHead) {
  ModelConfig config = Random::make_config(false);
  config.vocab_size = 1 << 18;
  config.width = 4;
  config.heads = config.kv_heads = 1;
  config.ffn_width = 4;
  config.layers = 1;
  ASSERT_EQ(head_chunk_rows(config), 64);
  ModelTensors weights(cpu().memory(), config, "weights");
  randomise(weights, 2);
  SamplerOptions o = options(40, 2, 40);
  o.cfg_scale = 0.5;
  const std::vector<Tokens> prompts = {{1, 2, 3}, {4, 5}};
  Sampler together(cpu(), config, weights, {85, 2, true});  // 80 rows: two chunks
  Sampler alone(cpu(), config, weights, {43, 1, true});     // 40 rows: one
  const std::vector<Tokens> canvases = together.generate(prompts, o);
  for (std::size_t i = 0; i < prompts.size(); ++i)
    EXPECT_EQ(alone.generate({prompts[i]}, o)[0], canvases[i]) << i;
}

TEST(Sampler, GuidanceNeedsRoom) {
  const Random model(false);
  SamplerOptions o = options(4, 4, 4);
  o.cfg_scale = 1;
  Sampler without(cpu(), model.config, model.weights, {8, 1});
  EXPECT_TRUE(contains(error_of([&] { without.generate({{1}}, o); }), "guidance"));
  Sampler with(cpu(), model.config, model.weights, {5, 1, true});
  EXPECT_EQ(with.generate({{1}}, o)[0].size(), 5u);
  // Without a prompt both branches are the same: guidance changes nothing.
  o = options(4, 2, 4);
  o.temperature = 1;
  const Tokens plain = with.generate({{}}, o)[0];
  o.cfg_scale = 3;
  EXPECT_EQ(with.generate({{}}, o)[0], plain);
}

TEST(Sampler, NeedsAMaskToken) {
  Random model(false);
  for (const std::int64_t token : {std::int64_t{-1}, model.config.vocab_size}) {
    model.config.mask_token = token;
    EXPECT_TRUE(contains(error_of<UsageError>([&] {
                           Sampler(cpu(), model.config, model.weights, {8, 1});
                         }),
                         "model.mask_token"));
  }
}

TEST(AutoregressiveSampler, StopsAtTheEndTokenAndShowsItsGrowth) {
  // The likeliest token is the end token.
  Oracle oracle({0, 3, 1}, Attention::causal);
  oracle.config.eos_token = 1;
  AutoregressiveSampler sampler(cpu(), oracle.config, oracle.weights, {30, 2});
  SamplerOptions o;
  o.gen_length = 10;
  std::int64_t calls = 0;
  const auto texts = sampler.generate({{2, 2}, {}}, o, [&](const CanvasStep& step) {
    EXPECT_EQ(step.step, 0);
    EXPECT_EQ(step.tokens.size(), step.sequence == 0 ? 3u : 1u);
    ASSERT_EQ(step.committed.size(), 1u);
    EXPECT_EQ(step.committed[0], std::int32_t(step.tokens.size()) - 1);
    ++calls;
  });
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(texts[0], (Tokens{2, 2, 1}));
  EXPECT_EQ(texts[1], (Tokens{1}));
  oracle.config.eos_token = -1;
  AutoregressiveSampler endless(cpu(), oracle.config, oracle.weights, {30, 1});
  EXPECT_EQ(endless.generate({{2}}, o)[0].size(), 11u);
  EXPECT_TRUE(contains(error_of<UsageError>([&] { endless.generate({{}}, o); }), "prompt"));
}

TEST(SamplerOptions, AreValidated) {
  const auto error = [](auto change) {
    SamplerOptions o = options(12, 6, 4);
    change(o);
    return error_of<UsageError>([&] { validate(o); });
  };
  EXPECT_EQ(error([](SamplerOptions&) {}), "");
  EXPECT_TRUE(contains(error([](auto& o) { o.gen_length = 0; }), "--gen-length is 0"));
  EXPECT_TRUE(contains(error([](auto& o) { o.block_length = -4; }), "--block-length is -4"));
  EXPECT_TRUE(contains(error([](auto& o) { o.steps = 0; }), "--steps is 0"));
  EXPECT_TRUE(contains(error([](auto& o) { o.block_length = 5; }),
                       "--block-length 5 does not divide --gen-length 12"));
  EXPECT_TRUE(contains(error([](auto& o) { o.steps = 7; }), "a multiple of 3"));
  EXPECT_TRUE(contains(error([](auto& o) { o.temperature = -1; }), "--temperature is -1"));
  EXPECT_TRUE(contains(error([](auto& o) { o.temperature = NAN; }), "--temperature is nan"));
  EXPECT_TRUE(contains(error([](auto& o) { o.temperature = INFINITY; }), "--temperature"));
  EXPECT_TRUE(contains(error([](auto& o) { o.cfg_scale = -0.5; }), "--cfg-scale is -0.5"));
}

}  // namespace
}  // namespace lacuna
