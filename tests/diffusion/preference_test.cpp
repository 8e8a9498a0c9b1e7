#include "diffusion/preference.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <map>
#include <numeric>

#include "diffusion/likelihood.h"
#include "tests/support/oracle.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

constexpr std::int32_t kMaskToken = 90;

// --- the loss --------------------------------------------------------------------------------

TEST(DpoLoss, WithoutAMarginItIsLn2) {
  const DpoLoss l = dpo_loss(0, 0.3);
  EXPECT_DOUBLE_EQ(l.loss, std::log(2.0));
  EXPECT_DOUBLE_EQ(l.slope, 0.15);
}

TEST(DpoLoss, ItsSlopeIsItsDerivative) {
  for (const double margin : {-40.0, -3.0, -0.1, 0.2, 5.0, 33.0}) {
    const double h = 1e-4, beta = 0.7;
    const double difference =
        (dpo_loss(margin + h, beta).loss - dpo_loss(margin - h, beta).loss) / (2 * h);
    // The third derivative of the loss is below beta^3 / 6, and f64 sums round at 1e-16 / h.
    EXPECT_NEAR(dpo_loss(margin, beta).slope, -difference, 1e-8) << margin;
  }
}

TEST(DpoLoss, DoesNotOverflow) {
  EXPECT_DOUBLE_EQ(dpo_loss(-1e6, 1).loss, 1e6);
  EXPECT_DOUBLE_EQ(dpo_loss(-1e6, 1).slope, 1);
  EXPECT_EQ(dpo_loss(1e6, 1).loss, 0);
  EXPECT_EQ(dpo_loss(1e6, 1).slope, 0);
}

TEST(PairLikelihoods, TheMarginIsRelativeToTheReference) {
  EXPECT_DOUBLE_EQ((PairLikelihoods{-3, -8, -4, -6}.margin()), (-3 + 4) - (-8 + 6));
}

// --- batches ---------------------------------------------------------------------------------

PreferenceNoise noise_of(Objective objective, std::int64_t samples = 4) {
  PreferenceNoise noise{{.objective = objective, .seed = 3, .mask_token = kMaskToken}, samples};
  if (objective == Objective::block_diffusion) noise.noise.blocks.sizes = {4};
  return noise;
}

/// Text i has i + 2 tokens of prompt and 3 i + 5 of response.
std::vector<ScoredText> texts_of(std::int64_t count) {
  std::vector<ScoredText> texts;
  for (std::int64_t i = 0; i < count; ++i) {
    ScoredText text{{std::vector<std::int32_t>(std::size_t(4 * i + 7)), i + 2}, 10 + i};
    std::iota(text.text.tokens.begin(), text.text.tokens.end(), std::int32_t(i));
    texts.push_back(text);
  }
  return texts;
}

constexpr Objective kObjectives[] = {Objective::masked_diffusion, Objective::autoregressive,
                                     Objective::block_diffusion};

/// Of each text the weights of what is predicted, by position in its response, summed over masks.
using Weights = std::map<std::int32_t, std::map<std::int64_t, double>>;

Weights weights_of(const std::vector<ScoreBatch>& batches, const std::vector<ScoredText>& texts) {
  Weights weights;
  for (const ScoreBatch& batch : batches) {
    const LossBatch& b = batch.losses;
    EXPECT_EQ(batch.texts.size(), b.rows.size());
    for (std::size_t m = 0; m < b.rows.size(); ++m) {
      const auto token = std::int32_t(b.rows[m] + b.shift);
      const auto sequence =
          std::upper_bound(b.offsets.begin(), b.offsets.end(), token) - b.offsets.begin() - 1;
      const PromptedText& text = texts[std::size_t(batch.texts[m])].text;
      EXPECT_EQ(b.samples[std::size_t(sequence)], texts[std::size_t(batch.texts[m])].number);
      const std::int64_t position = token - b.offsets[std::size_t(sequence)];
      EXPECT_GE(position, text.prompt);
      EXPECT_EQ(b.targets[m], text.tokens[std::size_t(position)]);
      EXPECT_TRUE(b.masked[std::size_t(token)]);
      if (b.shift == 0) {
        EXPECT_EQ(b.tokens[std::size_t(token)], kMaskToken);
      }
      weights[batch.texts[m]][position - text.prompt] += b.weights[m];
    }
  }
  return weights;
}

TEST(ScoreBatches, TheWeightsOfATextAddUpToItsResponse) {
  const auto texts = texts_of(5);
  for (const Objective objective : kObjectives) {
    const PreferenceNoise noise = noise_of(objective);
    const auto batches = make_score_batches(noise, texts, score_limits(noise, 60, 8, true));
    EXPECT_GT(batches.size(), 1u);
    for (const auto& [text, positions] : weights_of(batches, texts)) {
      double sum = 0;
      for (const auto& [position, weight] : positions) sum += weight;
      // Each mask of l of A tokens weighs them A / l.
      EXPECT_NEAR(sum, double(texts[std::size_t(text)].text.response()), 1e-12);
    }
  }
}

TEST(ScoreBatches, KeepWithinTheLimits) {
  const auto texts = texts_of(6);
  for (const Objective objective : kObjectives) {
    const PreferenceNoise noise = noise_of(objective);
    const ModelLimits limits = score_limits(noise, 54, 3, true);
    for (const ScoreBatch& batch : make_score_batches(noise, texts, limits)) {
      EXPECT_LE(std::int64_t(batch.losses.tokens.size() + batch.losses.clean.size()), limits.rows);
      EXPECT_LE(batch.losses.sequences, limits.sequences);
      EXPECT_LE(std::int64_t(batch.losses.rows.size()), limits.logit_rows);
    }
  }
}

TEST(ScoreBatches, ATextsMasksDoNotDependOnTheOthers) {
  const auto texts = texts_of(4);
  for (const Objective objective : kObjectives) {
    const PreferenceNoise noise = noise_of(objective);
    const auto together =
        weights_of(make_score_batches(noise, texts, score_limits(noise, 200, 20, true)), texts);
    const std::vector<ScoredText> one = {texts[2]};
    const auto alone =
        weights_of(make_score_batches(noise, one, score_limits(noise, 30, 1, true)), one);
    EXPECT_EQ(alone.at(0), together.at(2));
  }
}

TEST(ScoreBatches, SumsAreOfEachText) {
  const auto texts = texts_of(3);
  for (const Objective objective : kObjectives) {
    const PreferenceNoise noise = noise_of(objective);
    std::vector<double> sums(3);
    for (const ScoreBatch& batch :
         make_score_batches(noise, texts, score_limits(noise, 40, 4, true))) {
      // A loss of its own for each text.
      std::vector<float> losses;
      for (const std::int32_t text : batch.texts) losses.push_back(float(text + 1));
      batch.add_sums(losses, sums);
    }
    for (std::size_t i = 0; i < 3; ++i)
      EXPECT_NEAR(sums[i], double(i + 1) * double(texts[i].text.response()), 1e-12);
  }
}

/// A cross-entropy that depends on what else is masked.
double loss_of(std::uint32_t masked, std::int64_t position) {
  return 1 + 0.3 * std::popcount(masked) * double(position + 1) + 0.1 * double(masked % 7);
}

/// The bound of a response of A tokens: the mean over counts l = 1 … A, and over sets of l of them,
/// of A / l sum loss.
double enumerated_bound(std::int64_t tokens) {
  std::vector<double> sums(std::size_t(tokens + 1)), sets(sums.size());
  for (std::uint32_t set = 1; set < 1u << tokens; ++set) {
    const auto count = std::size_t(std::popcount(set));
    ++sets[count];
    for (std::int64_t i = 0; i < tokens; ++i)
      if (set >> i & 1) sums[count] += loss_of(set, i);
  }
  double bound = 0;
  for (std::size_t l = 1; l < sums.size(); ++l) bound += sums[l] / sets[l] / double(l);
  return bound;
}

TEST(ScoreBatches, TheEstimateIsUnbiased) {
  constexpr std::int64_t tokens = 5, runs = 4000;
  const std::vector<ScoredText> text = {{{{1, 2, 3, 4, 5, 6, 7}, 2}, 0}};
  PreferenceNoise noise = noise_of(Objective::masked_diffusion, 3);
  std::vector<double> estimates;
  for (std::int64_t run = 0; run < runs; ++run) {
    noise.noise.seed = std::uint64_t(run);
    double sum = 0;
    for (const ScoreBatch& batch :
         make_score_batches(noise, text, score_limits(noise, 30, 3, true))) {
      const LossBatch& b = batch.losses;
      std::vector<std::uint32_t> masked(std::size_t(b.sequences));
      const auto place = [&](std::size_t m) { return std::div(b.rows[m], 7); };
      for (std::size_t m = 0; m < b.rows.size(); ++m)
        masked[std::size_t(place(m).quot)] |= 1u << (place(m).rem - 2);
      for (std::size_t m = 0; m < b.rows.size(); ++m)
        sum += b.weights[m] * loss_of(masked[std::size_t(place(m).quot)], place(m).rem - 2);
    }
    estimates.push_back(sum);
  }
  const Likelihood mean = summarise(estimates, false);
  EXPECT_LT(std::abs(mean.nats - enumerated_bound(tokens)), 4 * mean.standard_error);
  EXPECT_LT(mean.standard_error, 0.01 * mean.nats);
}

TEST(ScoreBatches, TextsThatCannotBeScored) {
  const PreferenceNoise noise = noise_of(Objective::masked_diffusion);
  const ModelLimits limits = score_limits(noise, 10, 4, true);
  const auto error = [&](const PromptedText& text) {
    return error_of([&] { make_score_batches(noise, std::vector<ScoredText>{{text, 7}}, limits); });
  };
  EXPECT_TRUE(contains(error({{1, 2, 3}, 3}), "text 7: 3 tokens with a prompt of 3"));
  EXPECT_TRUE(contains(error({{1, 2, 3}, 0}), "with a prompt of 0"));
  EXPECT_TRUE(contains(error({std::vector<std::int32_t>(11, 1), 3}), "11 rows where at most 10"));
}

}  // namespace
}  // namespace lacuna
