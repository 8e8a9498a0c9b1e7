#include "diffusion/validation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/support/oracle.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

TEST(ValidationRatios, OneInEachStratum) {
  for (const std::int64_t n : {1, 2, 7, 100, 1000}) {
    std::vector<double> ratios = validation_ratios(n);
    ASSERT_EQ(std::int64_t(ratios.size()), n);
    EXPECT_EQ(ratios, validation_ratios(n));
    if (n >= 7) {
      EXPECT_FALSE(std::is_sorted(ratios.begin(), ratios.end()));
    }
    std::sort(ratios.begin(), ratios.end());
    for (std::int64_t i = 0; i < n; ++i) {
      EXPECT_GT(ratios[std::size_t(i)], double(i) / double(n));
      EXPECT_LT(ratios[std::size_t(i)], double(i + 1) / double(n));
    }
  }
}

// A sequence's place says nothing about its ratio: the rank correlation of n shuffled numbers has
// mean 0 and variance 1/(n-1).
TEST(ValidationRatios, AreDealtInRandomOrder) {
  const std::int64_t n = 1000;
  const std::vector<double> ratios = validation_ratios(n);
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i)
    sum += ((double(i) + 0.5) / double(n) - 0.5) * (ratios[std::size_t(i)] - 0.5) * 12 / double(n);
  EXPECT_LT(std::abs(sum), 5 / std::sqrt(double(n - 1)));
}

/// 23 sequences of 12 tokens and a model.
struct Fixture {
  static constexpr std::int64_t kSequences = 23, kLength = 12;
  ModelConfig config;
  ModelTensors weights;
  std::vector<std::int32_t> tokens;
  NoiseOptions options;
  ValidationSet set;
  std::int64_t reads = 0;

  explicit Fixture(bool causal)
      : config(tiny_config(causal)), weights(cpu().memory(), config, "weights") {
    config.mask_token = config.vocab_size - 1;
    const CounterRng rng{8, Purpose::benchmark};
    for (std::uint32_t i = 0; i < kSequences * kLength; ++i)
      tokens.push_back(std::int32_t(rng.below(std::uint64_t(config.vocab_size - 1), i)));
    options.objective = causal ? Objective::autoregressive : Objective::masked_diffusion;
    options.mask_token = std::int32_t(config.mask_token);
    set.sequences = kSequences;
    set.length = kLength;
    set.read = [this](std::int64_t first, std::int64_t count, Tensor out) {
      ASSERT_EQ(out.shape, (Shape{count, kLength}));
      std::copy_n(tokens.begin() + first * kLength, count * kLength, out.as<std::int32_t>());
      reads += count;
    };
  }
  double bound(std::int64_t micro_batch) {
    ObjectiveRunner runner(cpu(), config, weights, micro_batch, kLength, false);
    return validation_bound(runner, options, set, micro_batch);
  }
};

TEST(Validation, DependsOnNeitherSeedNorMicroBatch) {
  for (const bool causal : {false, true}) {
    Fixture f(causal);
    randomise(f.weights, 3);
    const double bound = f.bound(5);
    EXPECT_EQ(f.reads, Fixture::kSequences);
    // The same rows in products of other sizes: rounding only.
    EXPECT_NEAR(f.bound(1), bound, bound * 1e-5);
    EXPECT_NEAR(f.bound(23), bound, bound * 1e-5);
    f.options.seed = 99;
    EXPECT_EQ(f.bound(5), bound);
  }
}

TEST(Validation, SharesAddUp) {
  Fixture f(false);
  randomise(f.weights, 3);
  ObjectiveRunner runner(cpu(), f.config, f.weights, 4, Fixture::kLength, false);
  const double parts = validation_share(runner, f.options, f.set, 4, 0, 9) +
                       validation_share(runner, f.options, f.set, 4, 9, 0) +
                       validation_share(runner, f.options, f.set, 4, 9, 14);
  const double bound = validation_bound(runner, f.options, f.set, 4);
  EXPECT_NEAR(parts, bound, bound * 1e-5);
  EXPECT_TRUE(contains(error_of([&] { validation_share(runner, f.options, f.set, 4, 20, 4); }),
                       "sequences 20+4 of a validation set of 23"));
}

// All weights zero: every token has probability 1/V. Autoregressive: log V, exactly. Masked
// diffusion: log V times sum_i m_i / p_b / (n T), whose expectation is 1 and whose variance is
// sum_b (1 - p_b) / p_b / (n^2 T).
TEST(Validation, OfAModelThatKnowsNothing) {
  const double log_v = std::log(double(tiny_config().vocab_size));
  Fixture causal(true);
  EXPECT_NEAR(causal.bound(6), log_v, log_v * 1e-6);
  Fixture full(false);
  double variance = 0;
  for (const double t : validation_ratios(Fixture::kSequences)) {
    const double p = double(mask_probability(t, full.options.min_mask_probability));
    variance += (1 - p) / p / double(Fixture::kSequences * Fixture::kSequences * Fixture::kLength);
  }
  const double ratio = full.bound(6) / log_v;
  EXPECT_NEAR(ratio, 1, 5 * std::sqrt(variance));
  EXPECT_NE(ratio, 1);

  // Every token costs log V, whatever its mask probability.
  ValidationDetail detail(Fixture::kSequences);
  ObjectiveRunner runner(cpu(), full.config, full.weights, 6, Fixture::kLength, false);
  validation_share(runner, full.options, full.set, 6, 0, Fixture::kSequences, &detail);
  int found = 0;
  for (const double loss : detail.loss_by_mask_probability()) {
    if (std::isnan(loss)) continue;
    EXPECT_NEAR(loss, log_v, log_v * 1e-6);
    ++found;
  }
  EXPECT_GE(found, 8);
}

// y = 3 t + noise of deviation s, with t stratified in n ranges: the mean's variance is
// (s^2 + 9 / (12 n^2)) / n. Of a pair of neighbouring ranges E[(y_a - y_b)^2] = 2 (s^2 + 9 / (12
// n^2))
// + 9 / n^2. Without the ratios, 9/12 would be added to s^2.
TEST(ValidationDetail, TheStandardErrorLeavesOutWhatTheRatioExplains) {
  constexpr std::int64_t n = 40;
  constexpr double s = 0.5;
  const std::vector<double> ratios = validation_ratios(n);
  double paired = 0, plain = 0;
  constexpr int kRounds = 400;
  for (int round = 0; round < kRounds; ++round) {
    const CounterRng rng{3, Purpose::benchmark, std::uint64_t(round)};
    ValidationDetail detail(n);
    for (std::int64_t i = 0; i < n; ++i) {
      const double u = rng.uniform53(std::uint32_t(2 * i)),
                   v = rng.uniform53(std::uint32_t(2 * i + 1));
      const double t = (std::floor(ratios[std::size_t(i)] * n) + u) / n;
      const auto y = float(3 * t + s * std::sqrt(12.0) * (v - 0.5));
      LossBatch batch;
      batch.sequences = batch.length = 1;
      batch.rows = {0};
      batch.p = {float(t)};
      batch.weights = {1.0 / n};
      detail.add(batch, std::span(&y, 1), std::span(&i, 1));
    }
    paired += std::pow(detail.standard_error(ratios), 2) / kRounds;
    plain += std::pow(detail.standard_error({}), 2) / kRounds;
  }
  const double within = s * s + 9.0 / (12 * n * n);
  EXPECT_NEAR(paired, (within + 9.0 / (2 * n * n)) / n, 0.05 * within / n);
  EXPECT_NEAR(plain, (s * s + 9.0 / 12) / n, 0.05 / n);
}

// An odd number of sequences, by hand: pairs (1, 3) and, of the three that are left, (2, 2, 5).
TEST(ValidationDetail, OfAnOddNumberThreeAreComparedAtTheEnd) {
  const std::vector<double> ratios = {0.5, 0.1, 0.9, 0.3, 0.7}, y = {2, 1, 5, 3, 2};
  ValidationDetail detail(5);
  for (std::int64_t i = 0; i < 5; ++i) {
    LossBatch batch;
    batch.sequences = batch.length = 1;
    batch.rows = {0};
    batch.p = {0.5F};
    batch.weights = {0.2};
    const auto loss = float(y[std::size_t(i)]);
    detail.add(batch, std::span(&loss, 1), std::span(&i, 1));
  }
  // 2 * 2 / 1 + 3 * 6 / 2 = 13
  EXPECT_NEAR(detail.standard_error(ratios), std::sqrt(13.0) / 5, 1e-6);
}

// The autoregressive figure is the plain mean of -log p over all predicted tokens.
TEST(Validation, OfTheAutoregressiveBaselineIsExact) {
  Fixture f(true);
  randomise(f.weights, 3);
  ObjectiveRunner runner(cpu(), f.config, f.weights, Fixture::kSequences, Fixture::kLength, false);
  const LossBatch batch =
      make_noisy_batch(f.options, Tensor(f.tokens.data(), {Fixture::kSequences, Fixture::kLength}),
                       Fixture::kLength, 0, 1);
  runner.loss(batch);
  double sum = 0;
  for (const float loss : runner.row_losses()) sum += double(loss);
  ASSERT_EQ(runner.row_losses().size(), std::size_t(23 * 11));
  const double mean = sum / (23 * 11);
  EXPECT_NEAR(f.bound(7), mean, mean * 1e-5);

  // Each sequence's mean is an estimate, and these are independent.
  double squares = 0;
  for (std::size_t b = 0; b < 23; ++b) {
    double own = 0;
    for (std::size_t i = 0; i < 11; ++i) own += double(runner.row_losses()[11 * b + i]) / 11;
    squares += (own - mean) * (own - mean);
  }
  ValidationDetail detail(23);
  validation_share(runner, f.options, f.set, 7, 0, 23, &detail);
  EXPECT_NEAR(detail.standard_error({}), std::sqrt(squares / 22 / 23), 1e-4 * mean);
}

}  // namespace
}  // namespace lacuna
