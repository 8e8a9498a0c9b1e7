#include "diffusion/likelihood.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "tests/support/oracle.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

constexpr MaskForm kForms[] = {MaskForm::mask_count, MaskForm::mask_ratio};

// --- masks -----------------------------------------------------------------------------------

TEST(ResponseMask, CountsAreStratified) {
  // 12 masks of 6 tokens: the i-th takes its count from ((i, i + 1) / 12) 6, so each occurs twice.
  const LikelihoodOptions options{.samples = 12, .seed = 5};
  for (std::int64_t s = 0; s < 12; ++s) {
    const ResponseMask mask = response_mask(options, 3, s, 6);
    EXPECT_EQ(std::int64_t(mask.positions.size()), s / 2 + 1);
    EXPECT_DOUBLE_EQ(mask.weight, 6.0 / double(s / 2 + 1));
  }
}

TEST(ResponseMask, EveryCountAndEveryPositionEquallyOften) {
  const std::int64_t n = 20000, tokens = 5;
  for (const MaskForm form : kForms) {
    const LikelihoodOptions options{.form = form, .samples = n, .stratified = false, .seed = 2};
    std::vector<std::int64_t> counts(tokens + 1), positions(tokens);
    for (std::int64_t s = 0; s < n; ++s) {
      const ResponseMask mask = response_mask(options, 0, s, tokens);
      EXPECT_TRUE(std::is_sorted(mask.positions.begin(), mask.positions.end()));
      ++counts[mask.positions.size()];
      for (const std::int32_t p : mask.positions) ++positions[std::size_t(p)];
    }
    // Count form: 1/5 each, and a position with probability E[l/L] = 3/5. Ratio form: the number
    // of tokens below a uniform ratio is uniform on 0..5, a position is masked with probability
    // 1/2.
    const bool count_form = form == MaskForm::mask_count;
    for (std::int64_t l = 0; l <= tokens; ++l)
      EXPECT_TRUE(plausible(counts[std::size_t(l)], n, count_form ? (l ? 0.2 : 0) : 1.0 / 6)) << l;
    for (const std::int64_t p : positions) EXPECT_TRUE(plausible(p, n, count_form ? 0.6 : 0.5));
  }
}

TEST(ResponseMask, AreNamedByTextSampleAndSeed) {
  const auto positions = [](std::uint64_t seed, std::int64_t text, std::int64_t sample) {
    return response_mask({.stratified = false, .seed = seed}, text, sample, 40).positions;
  };
  EXPECT_EQ(positions(1, 2, 3), positions(1, 2, 3));
  EXPECT_NE(positions(1, 2, 3), positions(2, 2, 3));
  EXPECT_NE(positions(1, 2, 3), positions(1, 3, 3));
  EXPECT_NE(positions(1, 2, 3), positions(1, 2, 4));
}

// --- the summary -----------------------------------------------------------------------------

TEST(Summarise, IndependentEstimates) {
  // Mean 4, sum of squares 1 + 9 + 4 = 14, 14 / 2 / 3.
  const Likelihood l = summarise({3, 7, 2}, false);
  EXPECT_DOUBLE_EQ(l.nats, 4);
  EXPECT_DOUBLE_EQ(l.standard_error, std::sqrt(14.0 / 2 / 3));
  EXPECT_EQ(l.samples, 3);
  EXPECT_TRUE(std::isnan(summarise({3}, false).standard_error));
  EXPECT_TRUE(std::isnan(summarise({3}, true).standard_error));
}

TEST(Summarise, StratifiedEstimatesByNeighbours) {
  // Pairs (1, 3) and (10, 20): (4 + 100) / 16.
  EXPECT_DOUBLE_EQ(summarise({1, 3, 10, 20}, true).standard_error, std::sqrt(104.0) / 4);
  // A pair and three: 4 + 3/2 (9 + 9 + 36) = 85 with mean 13 of 10, 10, 19.
  EXPECT_DOUBLE_EQ(summarise({1, 3, 10, 10, 19}, true).standard_error, std::sqrt(85.0) / 5);
}

// --- against all masks -----------------------------------------------------------------------

double log_choose(std::int64_t n, std::int64_t k) {
  return std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1);
}

/// A text whose bound is computed from all 2^L masks of its response.
struct Enumerated {
  static constexpr std::int64_t kPrompt = 3, kResponse = 5;
  ModelConfig config = tiny_config(false);
  ModelTensors weights{cpu().memory(), config, "weights"};
  PromptedText text;
  double bound = 0;                               // both forms' expectation
  double count_variance = 0, ratio_variance = 0;  // of one independent estimate; the latter at most
  double count_kurtosis = 0;

  Enumerated() {
    config.mask_token = config.vocab_size - 1;
    randomise(weights, 7);
    text.prompt = kPrompt;
    for (std::int32_t i = 0; i < kPrompt + kResponse; ++i)
      text.tokens.push_back((5 * i + 1) % std::int32_t(config.vocab_size - 1));
    double count_square = 0, ratio_square = 0;
    std::vector<std::pair<double, double>> estimates;  // and their chances
    for (std::uint32_t set = 1; set < 1u << kResponse; ++set) {
      const std::int64_t l = std::popcount(set);
      const double sum = masked_loss(set);
      // The set is drawn with probability 1 / (L C(L,l)) and weighs L / l.
      const double chance = std::exp(-log_choose(kResponse, l)) / kResponse;
      const double estimate = sum * kResponse / double(l);
      bound += chance * estimate;
      count_square += chance * estimate * estimate;
      estimates.emplace_back(estimate, chance);
      // int_0^1 t^(l-2) (1-t)^(L-l) dt = B(l-1, L-l+1); for l = 1 it diverges, but ratios are
      // multiples of 2^-24, the first of which adds 1 and the rest less than ln 2^24.
      const double beta = l == 1 ? 1 + 24 * std::log(2.0)
                                 : std::exp(std::lgamma(l - 1) + std::lgamma(kResponse - l + 1) -
                                            std::lgamma(kResponse));
      ratio_square += sum * sum * beta;
    }
    count_variance = count_square - bound * bound;
    ratio_variance = ratio_square - bound * bound;
    for (const auto& [estimate, chance] : estimates)
      count_kurtosis += chance * std::pow(estimate - bound, 4) / std::pow(count_variance, 2);
  }
  /// The sum of the cross-entropies of the masked tokens of the response.
  double masked_loss(std::uint32_t set) {
    ObjectiveRunner runner(cpu(), config, weights, 1, kPrompt + kResponse, false);
    LossBatch batch;
    batch.sequences = 1;
    batch.length = kPrompt + kResponse;
    batch.tokens = text.tokens;
    for (std::int32_t i = 0; i < kResponse; ++i) {
      if (!(set >> i & 1)) continue;
      const auto row = std::size_t(kPrompt + i);
      batch.rows.push_back(std::int32_t(row));
      batch.targets.push_back(text.tokens[row]);
      batch.tokens[row] = std::int32_t(config.mask_token);
      batch.weights.push_back(1);
    }
    return runner.loss(batch);
  }
};

// The mean of n estimates lies within 5 standard errors of the bound, by the variance of all masks;
// stratifying does not raise it.
TEST(Likelihood, IsTheMeanOverAllMasks) {
  Enumerated e;
  ASSERT_GT(e.count_variance, 0);
  const std::int64_t n = 3000;
  for (const MaskForm form : kForms) {
    const double variance = form == MaskForm::mask_count ? e.count_variance : e.ratio_variance;
    for (const bool stratified : {false, true}) {
      LikelihoodEstimator estimator(cpu(), e.config, e.weights, 1024);
      const Likelihood l =
          estimator
              .score({e.text}, {.form = form, .samples = n, .stratified = stratified, .seed = 4})
              .front();
      EXPECT_NEAR(l.nats, e.bound, 5 * std::sqrt(variance / double(n)))
          << word_of(form) << (stratified ? ", stratified" : "");
      EXPECT_NE(l.nats, e.bound);
      EXPECT_EQ(l.tokens, Enumerated::kResponse);
      EXPECT_EQ(l.samples, n);
    }
  }
}

// The standard error that is told is the right one: of n independent estimates of kurtosis k, the
// estimated variance has a relative deviation of sqrt((k - 1) / n).
TEST(Likelihood, StandardErrorOfIndependentMasks) {
  Enumerated e;
  const std::int64_t n = 3000;
  LikelihoodEstimator estimator(cpu(), e.config, e.weights, 1024);
  const Likelihood l =
      estimator.score({e.text}, {.samples = n, .stratified = false, .seed = 4}).front();
  const double right = e.count_variance / double(n);
  EXPECT_NEAR(l.standard_error * l.standard_error / right, 1,
              5 * std::sqrt((e.count_kurtosis - 1) / double(n)));
}

// --- layout and exact cases ------------------------------------------------------------------

/// Texts of several lengths and a model.
struct Texts {
  ModelConfig config;
  ModelTensors weights;
  std::vector<PromptedText> texts;

  explicit Texts(bool causal)
      : config(tiny_config(causal)), weights(cpu().memory(), config, "weights") {
    config.mask_token = config.vocab_size - 1;
    config.eos_token = config.vocab_size - 2;
    randomise(weights, 3);
    const CounterRng rng{8, Purpose::benchmark};
    std::uint32_t drawn = 0;
    for (const auto& [length, prompt] : {std::pair(9, 4), {6, 0}, {3, 2}, {11, 5}}) {
      PromptedText text;
      text.prompt = prompt;
      for (int i = 0; i < length; ++i)
        text.tokens.push_back(
            std::int32_t(rng.below(std::uint64_t(config.vocab_size - 2), drawn++)));
      texts.push_back(text);
    }
  }
  std::vector<Likelihood> score(std::int64_t rows, const LikelihoodOptions& options) {
    return LikelihoodEstimator(cpu(), config, weights, rows).score(texts, options);
  }
};

TEST(Likelihood, DoesNotDependOnTheBatchOrTheOtherTexts) {
  for (const bool causal : {false, true}) {
    Texts t(causal);
    const LikelihoodOptions options{.samples = 9};
    const auto all = t.score(1000, options), one_by_one = t.score(12, options);
    LikelihoodEstimator alone(cpu(), t.config, t.weights, 50);
    for (std::size_t i = 0; i < t.texts.size(); ++i) {
      // The same rows in products of other sizes: rounding only.
      EXPECT_NEAR(all[i].nats, one_by_one[i].nats, 1e-5 * all[i].nats);
      EXPECT_NEAR(all[i].nats, alone.score({t.texts[i]}, options, std::int64_t(i))[0].nats,
                  1e-5 * all[i].nats);
      EXPECT_NEAR(all[i].standard_error, one_by_one[i].standard_error, 1e-4 * all[i].nats);
    }
  }
}

TEST(Likelihood, TellsTextAfterTextAsSoonAsItIsDone) {
  for (const bool causal : {false, true}) {
    Texts t(causal);
    const LikelihoodOptions options{.samples = 9};
    const auto expected = t.score(12, options);
    // Text 3, of 11 tokens, has passes for itself. Text 4 is refused: by then all are told but the
    // one before it, whose last pass waits.
    t.texts.push_back({{-1}, 0});
    std::vector<double> told;
    LikelihoodEstimator estimator(cpu(), t.config, t.weights, 12);
    EXPECT_TRUE(contains(error_of([&] {
                           estimator.score(t.texts, options, 0,
                                           [&](std::size_t i, const Likelihood& l) {
                                             EXPECT_EQ(i, told.size());
                                             told.push_back(l.nats);
                                           });
                         }),
                         "text 4: token -1"));
    ASSERT_EQ(told.size(), 3u);
    for (std::size_t i = 0; i < told.size(); ++i) EXPECT_EQ(told[i], expected[i].nats);
  }
}

// All weights zero: every token costs log V, so the count form's every estimate is L log V.
TEST(Likelihood, OfAModelThatKnowsNothing) {
  for (const bool causal : {false, true}) {
    Texts t(causal);
    cpu().fill(t.weights.flat(), 0);
    const double log_v = std::log(double(t.config.vocab_size));
    for (const Likelihood& l : t.score(64, {.samples = 8})) {
      EXPECT_NEAR(l.nats, double(l.tokens) * log_v, 1e-5 * l.nats);
      EXPECT_NEAR(l.standard_error, 0, 1e-5 * l.nats);
    }
  }
}

// One token is masked whatever is drawn: one pass says all there is.
TEST(Likelihood, OfASingleTokenIsExact) {
  Texts t(false);
  const auto results = t.score(64, {.samples = 9});
  EXPECT_EQ(results[2].tokens, 1);
  EXPECT_EQ(results[2].samples, 1);
  EXPECT_EQ(results[2].standard_error, 0);
  EXPECT_EQ(results[1].samples, 9);
  EXPECT_GT(results[1].standard_error, 0);
}

// With shifted logits the token is predicted at the row before it: without a prompt, the end
// token's.
TEST(Likelihood, WithShiftedLogitsIsThatOfTheRowBefore) {
  ModelConfig config = tiny_config();
  config.mask_token = config.vocab_size - 1;
  config.eos_token = config.vocab_size - 2;
  config.logits_shift = true;
  ModelTensors weights(cpu().memory(), config, "weights");
  randomise(weights, 3);
  const std::vector<PromptedText> texts = {{{4, 9}, 1}, {{9}, 0}};
  LikelihoodEstimator estimator(cpu(), config, weights, 16);
  const std::vector<Likelihood> scores = estimator.score(texts, {});
  for (std::size_t i = 0; i < 2; ++i) {
    const std::vector<std::int32_t> seen = {i == 0 ? 4 : std::int32_t(config.eos_token),
                                            std::int32_t(config.mask_token)},
                                    target = {9};
    Sequences sequences = Sequences::equal(1, 2);
    sequences.logit_rows = {0};
    Model model(cpu(), config, weights, {2, 1, 1, false});
    Head head(cpu(), config, weights, 1);
    std::vector<float> loss(1);
    head.loss(tensor_of(loss), model.forward(tensor_of(seen), sequences), tensor_of(target));
    EXPECT_NEAR(scores[i].nats, double(loss[0]), 1e-5);
    EXPECT_EQ(scores[i].tokens, 1);
  }
}

TEST(Likelihood, OfACausalModelIsExact) {
  Texts t(true);
  for (const Likelihood& l : t.score(64, {.samples = 9})) {
    EXPECT_EQ(l.samples, 1);
    EXPECT_EQ(l.standard_error, 0);
  }
}

// --- against PyTorch -------------------------------------------------------------------------

class GoldenLikelihood : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenLikelihood, IsPyTorchs) {
  const Golden golden(str("likelihood_", GetParam()));
  const bool causal = golden.metadata("causal") == "1";
  ModelConfig config = golden_config(golden, causal);
  config.eos_token = std::stoll(golden.metadata("eos_token"));
  ModelTensors weights(cpu().memory(), config, "weights");
  read_weights(golden, "weights/", weights);
  LikelihoodOptions options;
  options.samples = std::stoll(golden.metadata("samples"));
  options.seed = std::stoull(golden.metadata("seed"));
  if (std::string(GetParam()) == "mask_ratio") options.form = MaskForm::mask_ratio;
  std::vector<PromptedText> texts;
  for (std::int64_t i = 0; i < golden["prompts"].count(); ++i) {
    const Tensor tokens = golden[str("tokens", i)];
    const std::int32_t* ids = tokens.as<std::int32_t>();
    texts.push_back({{ids, ids + tokens.count()}, golden["prompts"].as<std::int64_t>()[i]});
  }
  LikelihoodEstimator estimator(cpu(), config, weights, 100);
  for (const bool stratified : {true, false}) {
    options.stratified = stratified;
    const auto results = estimator.score(texts, options);
    const Tensor nats = golden[stratified ? "stratified" : "independent"];
    // f32 through 13 products of at most 20 terms, as in tests/model/golden_test.cpp.
    for (std::size_t i = 0; i < texts.size(); ++i)
      EXPECT_NEAR(results[i].nats, nats.as<double>()[i], 1e-4 * nats.as<double>()[i]) << i;
  }
}
INSTANTIATE_TEST_SUITE_P(Cases, GoldenLikelihood,
                         ::testing::Values("mask_count", "mask_ratio", "causal"));

// --- errors ----------------------------------------------------------------------------------

TEST(Likelihood, WhatCannotBeScored) {
  Texts t(false);
  LikelihoodEstimator estimator(cpu(), t.config, t.weights, 8);
  const auto error = [&](const PromptedText& text, const LikelihoodOptions& options = {}) {
    return error_of([&] { estimator.score({text}, options, 5); });
  };
  EXPECT_TRUE(contains(error({{1, 2}, 2}), "text 5: 2 tokens with a prompt of 2 leave nothing"));
  EXPECT_TRUE(contains(error({std::vector<std::int32_t>(9, 1), 0}), "text 5: 9 tokens are more"));
  EXPECT_TRUE(contains(error({{1, 99}, 0}), "token 99 is not one of the model's"));
  EXPECT_TRUE(contains(error({{1, 2}, 0}, {.samples = 0}), "--samples is 0"));
  ModelConfig no_mask = t.config;
  no_mask.mask_token = -1;
  EXPECT_TRUE(
      contains(error_of<UsageError>([&] { LikelihoodEstimator(cpu(), no_mask, t.weights, 8); }),
               "model.mask_token is -1"));
  Texts causal(true);
  causal.config.eos_token = -1;
  EXPECT_TRUE(
      contains(error_of<UsageError>([&] { causal.score(64, {}); }), "without an end token"));
}

}  // namespace
}  // namespace lacuna
