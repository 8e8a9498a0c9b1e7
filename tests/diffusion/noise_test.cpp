#include "diffusion/noise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <random>

#include "core/philox.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;

constexpr std::int32_t kMask = 99;

NoiseOptions diffusion(std::uint64_t seed = 7) {
  NoiseOptions options;
  options.seed = seed;
  options.mask_token = kMask;
  return options;
}
NoiseOptions autoregressive() {
  NoiseOptions options;
  options.objective = Objective::autoregressive;
  return options;
}

/// Distinct tokens, none of them the mask.
std::vector<std::int32_t> clean_tokens(std::int64_t count) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  std::iota(tokens.begin(), tokens.end(), kMask + 1);
  return tokens;
}
Tensor matrix(std::vector<std::int32_t>& tokens, std::int64_t rows) {
  return {tokens.data(), {rows, std::int64_t(tokens.size()) / rows}};
}

TEST(MaskProbability, IsNeverZeroAndAtMostOne) {
  for (const double eps : {0.0, 1e-3, 0.5, 1.0})
    for (const double t : {0.0, 1e-300, 1e-9, 1e-3, 0.25, 0.5, 1 - 1e-12, 1.0}) {
      const float p = mask_probability(t, eps);
      EXPECT_GT(p, 0) << t << ' ' << eps;
      EXPECT_LE(p, 1) << t << ' ' << eps;
      // The multiple of 2^-24 at or above the formula.
      const double exact = (1 - eps) * t + eps;
      EXPECT_GE(double(p), exact * (1 - 1e-15)) << t << ' ' << eps;
      EXPECT_LE(double(p), exact + 0x1p-24) << t << ' ' << eps;
      EXPECT_EQ(double(p) * 0x1p24, std::floor(double(p) * 0x1p24)) << t << ' ' << eps;
    }
  EXPECT_EQ(mask_probability(0, 1e-3), float(std::ceil(1e-3 * 0x1p24) * 0x1p-24));
  EXPECT_EQ(mask_probability(1, 1e-3), 1.0f);
  EXPECT_TRUE(contains(error_of([] { mask_probability(0.5, -0.1); }), "min_mask_probability"));
  EXPECT_TRUE(contains(error_of([] { mask_probability(1.5, 0.1); }), "[0, 1]"));
}

// The Dvoretzky-Kiefer-Wolfowitz inequality: the empirical distribution of n draws strays further
// than sqrt(ln(2/a) / 2n) from the true one with probability at most a.
TEST(MaskProbability, RatiosAreUniform) {
  const NoiseOptions options = diffusion();
  const std::int64_t n = 20000;
  std::vector<double> p;
  for (std::int64_t sample = 0; sample < n; ++sample)
    p.push_back(double(mask_probability(options, sample)));
  std::sort(p.begin(), p.end());
  const double bound = std::sqrt(std::log(2 / 1e-9) / (2.0 * double(n)));
  const double eps = options.min_mask_probability;
  double distance = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double uniform = (p[std::size_t(i)] - eps) / (1 - eps);
    distance = std::max({distance, std::abs(uniform - double(i) / double(n)),
                         std::abs(uniform - double(i + 1) / double(n))});
  }
  EXPECT_LT(distance, bound);
}

// Each token is masked with probability p, independently: the counts' sum, their spread and every
// position's share stay within 5 standard deviations (a chance of 6e-7 each).
TEST(Masks, ShareMatchesProbability) {
  const std::int64_t B = 4000, T = 64;
  std::vector<std::int32_t> tokens = clean_tokens(B * T);
  std::vector<float> p;
  for (std::int64_t b = 0; b < B; ++b)
    p.push_back(mask_probability(0.05 + 0.9 * double(b) / double(B), 0));
  const LossBatch batch = make_noisy_batch(diffusion(), matrix(tokens, B), T, 0, B, p);
  double sum = 0, variance = 0, spread = 0, spread_variance = 0;
  std::vector<double> by_position(T), position_variance(T);
  for (std::int64_t b = 0; b < B; ++b) {
    const double q = double(p[std::size_t(b)]), v = q * (1 - q);
    double count = 0;
    for (std::int64_t i = 0; i < T; ++i) {
      const double masked = batch.masked[std::size_t(b * T + i)];
      count += masked;
      by_position[std::size_t(i)] += masked - q;
      position_variance[std::size_t(i)] += v;
    }
    sum += count - double(T) * q;
    variance += double(T) * v;
    spread += (count - double(T) * q) * (count - double(T) * q) / (double(T) * v) - 1;
    spread_variance += 2 + (1 - 6 * v) / (double(T) * v);  // of a standardised binomial's square
  }
  EXPECT_LT(std::abs(sum), 5 * std::sqrt(variance));
  EXPECT_LT(std::abs(spread), 5 * std::sqrt(spread_variance));
  for (std::int64_t i = 0; i < T; ++i)
    EXPECT_LT(std::abs(by_position[std::size_t(i)]),
              5 * std::sqrt(position_variance[std::size_t(i)]))
        << i;
}

// The same masks, read a row earlier; the first token is given.
TEST(Masks, WithShiftedLogitsTokensArePredictedAtTheRowBefore) {
  const std::int64_t B = 5, T = 12;
  std::vector<std::int32_t> tokens = clean_tokens(B * T);
  NoiseOptions shifted = diffusion();
  shifted.logits_shift = true;
  const LossBatch own = make_noisy_batch(diffusion(), matrix(tokens, B), T, 30, 40),
                  batch = make_noisy_batch(shifted, matrix(tokens, B), T, 30, 40);
  EXPECT_EQ(batch.shift, 1);
  std::size_t m = 0;
  for (std::size_t i = 0; i < own.rows.size(); ++i) {
    if (own.rows[i] % T == 0) continue;
    ASSERT_LT(m, batch.rows.size());
    EXPECT_EQ(batch.rows[m], own.rows[i] - 1);
    EXPECT_EQ(batch.targets[m], own.targets[i]);
    EXPECT_DOUBLE_EQ(batch.weights[m], own.weights[i] * 12 / 11);
    ++m;
  }
  EXPECT_EQ(m, batch.rows.size());
  for (std::int64_t b = 0; b < B; ++b)
    EXPECT_EQ(batch.tokens[std::size_t(b * T)], tokens[std::size_t(b * T)]);
}

TEST(Masks, BatchSaysWhatWasMasked) {
  const std::int64_t B = 5, T = 12;
  std::vector<std::int32_t> tokens = clean_tokens(B * T);
  const LossBatch batch = make_noisy_batch(diffusion(), matrix(tokens, B), T, 30, 40);
  EXPECT_EQ(batch.sequences, B);
  EXPECT_EQ(batch.length, T);
  EXPECT_EQ(batch.shift, 0);
  std::size_t m = 0;
  for (std::int64_t i = 0; i < B * T; ++i) {
    const CounterRng rng{7, Purpose::mask, std::uint64_t(30 + i / T)};
    const float p = mask_probability(diffusion(), 30 + i / T);
    EXPECT_EQ(batch.p[std::size_t(i / T)], p);
    const bool masked = rng.uniform(std::uint32_t(i % T)) < p;
    EXPECT_EQ(batch.masked[std::size_t(i)], masked) << i;
    EXPECT_EQ(batch.tokens[std::size_t(i)], masked ? kMask : tokens[std::size_t(i)]) << i;
    if (!masked) continue;
    ASSERT_LT(m, batch.rows.size());
    EXPECT_EQ(batch.rows[m], i);
    EXPECT_EQ(batch.targets[m], tokens[std::size_t(i)]);
    EXPECT_DOUBLE_EQ(batch.weights[m], 1 / (double(p) * 12 * 40));
    ++m;
  }
  EXPECT_EQ(m, batch.rows.size());
  EXPECT_GT(m, 0u);
}

// For any cross-entropies c that do not depend on the mask, the weighted sum over the masked
// tokens has the mean of c as its expectation: all 2^T masks with their exact probabilities.
TEST(Weights, AreUnbiasedOverAllMasks) {
  const std::int64_t B = 2000, T = 4;
  std::vector<std::int32_t> tokens = clean_tokens(B * T);
  const double cost[T] = {0.3, 2.0, 5.0, 1.25};
  for (const double t : {0.2, 0.5, 0.7}) {
    const float p = mask_probability(t, 0);
    const LossBatch batch = make_noisy_batch(diffusion(), matrix(tokens, B), T, 0, 1,
                                             std::vector<float>(std::size_t(B), p));
    std::map<unsigned, double> sums;  // by mask
    std::vector<double> sum_of_sequence(std::size_t(B), 0.0);
    for (std::size_t m = 0; m < batch.rows.size(); ++m)
      sum_of_sequence[std::size_t(batch.rows[m] / T)] += batch.weights[m] * cost[batch.rows[m] % T];
    for (std::int64_t b = 0; b < B; ++b) {
      unsigned mask = 0;
      for (std::int64_t i = 0; i < T; ++i)
        mask |= unsigned(batch.masked[std::size_t(b * T + i)]) << i;
      sums[mask] = sum_of_sequence[std::size_t(b)];
    }
    ASSERT_EQ(sums.size(), std::size_t(1) << T) << "not every mask was drawn";
    double expected = 0;
    for (const auto& [mask, sum] : sums) {
      const int masked = __builtin_popcount(mask);
      expected += std::pow(double(p), masked) * std::pow(1 - double(p), T - masked) * sum;
    }
    EXPECT_NEAR(expected, (0.3 + 2.0 + 5.0 + 1.25) / 4, 1e-12) << t;
  }
}

// A model that knows a distribution exactly pays, on average over texts, masks and ratios, the
// entropy of the distribution per token (arXiv:2502.09992, eq. 4 is tight then): the weights
// integrate to the bound. Three tokens of two kinds, all masks, midpoint rule over t.
TEST(Weights, IntegrateToTheEntropy) {
  const int T = 3;
  const double joint[8] = {0.25, 0.05, 0.1, 0.02, 0.03, 0.3, 0.05, 0.2};  // by bits of the text
  double entropy = 0;
  for (const double q : joint) entropy -= q * std::log(q);
  // cost[m]: mean over texts of the sum over masked i of -log P(x_i | the unmasked tokens of x).
  double cost[8] = {};
  for (unsigned mask = 0; mask < 8; ++mask)
    for (unsigned text = 0; text < 8; ++text)
      for (int i = 0; i < T; ++i) {
        if (!(mask >> i & 1)) continue;
        double given = 0, and_this = 0;
        for (unsigned other = 0; other < 8; ++other) {
          if ((other ^ text) & ~mask & 7u) continue;
          given += joint[other];
          if (((other ^ text) >> i & 1) == 0) and_this += joint[other];
        }
        cost[mask] -= joint[text] * std::log(and_this / given);
      }
  const int steps = 2000;
  std::vector<std::int32_t> tokens = clean_tokens(16 * T);
  double bound = 0;
  for (int s = 0; s < steps; ++s) {
    const float p = mask_probability((s + 0.5) / steps, 0);
    double weight = 0;  // of a masked token: the same for all
    for (std::int64_t sample = 0; weight == 0; sample += 16) {
      const LossBatch batch = make_noisy_batch(diffusion(), matrix(tokens, 16), T, sample, 1,
                                               std::vector<float>(16, p));
      if (!batch.weights.empty()) weight = batch.weights[0];
    }
    for (unsigned mask = 0; mask < 8; ++mask) {
      const int masked = __builtin_popcount(mask);
      bound += std::pow(double(p), masked) * std::pow(1 - double(p), T - masked) * weight *
               cost[mask] / steps;
    }
  }
  // p is t rounded up by at most 2^-24; the midpoint rule's error is below 1/steps^2.
  EXPECT_NEAR(bound, entropy / T, 1e-6);
}

void expect_same_rows(const LossBatch& whole, const LossBatch& part, std::int64_t first) {
  const std::int64_t offset = first * whole.length;
  std::size_t from = 0;
  while (from < whole.rows.size() && whole.rows[from] < offset) ++from;
  for (std::size_t m = 0; m < part.rows.size(); ++m) {
    ASSERT_LT(from + m, whole.rows.size());
    EXPECT_EQ(whole.rows[from + m], part.rows[m] + offset);
    EXPECT_EQ(whole.targets[from + m], part.targets[m]);
    EXPECT_EQ(whole.weights[from + m], part.weights[m]);
  }
  for (std::int64_t i = 0; i < part.sequences * part.length; ++i) {
    EXPECT_EQ(whole.tokens[std::size_t(offset + i)], part.tokens[std::size_t(i)]);
    EXPECT_EQ(whole.masked[std::size_t(offset + i)], part.masked[std::size_t(i)]);
  }
}

TEST(Layout, AnyCutIntoMicroBatchesGivesTheSame) {
  const std::int64_t B = 12, T = 33;
  std::vector<std::int32_t> tokens = clean_tokens(B * T);
  for (const NoiseOptions& options : {diffusion(), autoregressive()}) {
    const LossBatch whole = make_noisy_batch(options, matrix(tokens, B), T, 100, B);
    for (const std::int64_t size : {1, 5, 12}) {
      std::size_t rows = 0;
      for (std::int64_t at = 0; at < B; at += size) {
        const std::int64_t n = std::min(size, B - at);
        const Tensor part(tokens.data() + at * T, {n, T});
        const LossBatch batch = make_noisy_batch(options, part, T, 100 + at, B);
        expect_same_rows(whole, batch, at);
        rows += batch.rows.size();
      }
      EXPECT_EQ(rows, whole.rows.size());
    }
  }
}

TEST(Layout, CuttingTheLengthKeepsTheMasksOfWhatIsLeft) {
  const std::int64_t B = 6, T = 40, cut = 17;
  std::vector<std::int32_t> tokens = clean_tokens(B * T);
  const LossBatch whole = make_noisy_batch(diffusion(), matrix(tokens, B), T, 0, B);
  const LossBatch part = make_noisy_batch(diffusion(), matrix(tokens, B), cut, 0, B);
  ASSERT_EQ(part.tokens.size(), std::size_t(B * cut));
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t i = 0; i < cut; ++i)
      EXPECT_EQ(part.tokens[std::size_t(b * cut + i)], whole.tokens[std::size_t(b * T + i)]);
  for (std::size_t m = 0; m < part.rows.size(); ++m)
    EXPECT_DOUBLE_EQ(part.weights[m],
                     1 / (double(part.p[std::size_t(part.rows[m] / cut)]) * double(cut * B)));
}

TEST(Layout, SeedsAndSamplesDiffer) {
  std::vector<std::int32_t> tokens = clean_tokens(256);
  const std::vector<float> half{0.5f};
  const auto masks = [&](std::uint64_t seed, std::int64_t sample) {
    return make_noisy_batch(diffusion(seed), matrix(tokens, 1), 256, sample, 1, half).masked;
  };
  EXPECT_EQ(masks(1, 5), masks(1, 5));
  EXPECT_NE(masks(1, 5), masks(1, 6));  // equal with probability 2^-256
  EXPECT_NE(masks(1, 5), masks(2, 5));
  EXPECT_NE(mask_probability(diffusion(1), 5), mask_probability(diffusion(1), 6));
  EXPECT_NE(mask_probability(diffusion(1), 5), mask_probability(diffusion(2), 5));
}

TEST(NothingMasked, IsABatchWithoutRows) {
  std::vector<std::int32_t> tokens = clean_tokens(8);
  // Masked with probability 2^-24 each.
  const LossBatch batch = make_noisy_batch(diffusion(), matrix(tokens, 2), 4, 0, 2,
                                           {mask_probability(0, 0), mask_probability(0, 0)});
  EXPECT_TRUE(batch.rows.empty());
  EXPECT_EQ(batch.tokens, tokens);
}

TEST(Autoregressive, EveryTokenButTheFirstIsPredicted) {
  std::vector<std::int32_t> tokens = {1, 2, 3, 4, 5, 6, 7, 8};
  const LossBatch batch = make_noisy_batch(autoregressive(), matrix(tokens, 2), 3, 0, 10);
  EXPECT_EQ(batch.shift, 1);
  EXPECT_EQ(batch.tokens, (std::vector<std::int32_t>{1, 2, 3, 5, 6, 7}));
  EXPECT_EQ(batch.rows, (std::vector<std::int32_t>{0, 1, 3, 4}));
  EXPECT_EQ(batch.targets, (std::vector<std::int32_t>{2, 3, 6, 7}));
  EXPECT_EQ(batch.masked, (std::vector<std::uint8_t>{0, 1, 1, 0, 1, 1}));
  EXPECT_EQ(batch.p, (std::vector<float>{1, 1}));
  EXPECT_EQ(batch.weights, std::vector<double>(4, 1.0 / (2 * 10)));
  EXPECT_TRUE(
      contains(error_of([&] { make_noisy_batch(autoregressive(), matrix(tokens, 2), 1, 0, 1); }),
               "at least 2 tokens"));
}

TEST(RandomLength, IsTheShareOfStepsAskedFor) {
  const std::int64_t n = 200000, T = 512;
  const double fraction = 0.01;
  std::int64_t cut = 0;
  for (std::int64_t step = 0; step < n; ++step) {
    EXPECT_EQ(step_length(diffusion(), step, T, 0), T);
    const std::int64_t length = step_length(diffusion(), step, T, fraction);
    ASSERT_GE(length, 1);
    ASSERT_LE(length, T);
    cut += length < T;
  }
  // A cut step keeps the whole length with probability 1/T.
  const double share = fraction * (1 - 1.0 / double(T));
  EXPECT_NEAR(double(cut), double(n) * share, 5 * std::sqrt(double(n) * share * (1 - share)));
}

TEST(RandomLength, IsUniform) {
  const std::int64_t n = 100000;
  for (const auto& [options, shortest] :
       {std::pair(diffusion(), 1), std::pair(autoregressive(), 2)}) {
    const std::int64_t T = 10, values = T - shortest + 1;
    std::vector<double> counts(std::size_t(T + 1), 0.0);
    for (std::int64_t step = 0; step < n; ++step) {
      const std::int64_t length = step_length(options, step, T, 1);
      ASSERT_GE(length, shortest);
      ASSERT_LE(length, T);
      ++counts[std::size_t(length)];
    }
    const double q = 1.0 / double(values);
    for (std::int64_t length = shortest; length <= T; ++length)
      EXPECT_NEAR(counts[std::size_t(length)], double(n) * q,
                  5 * std::sqrt(double(n) * q * (1 - q)))
          << length;
  }
  EXPECT_EQ(step_length(diffusion(), 3, 1, 1), 1);
  EXPECT_EQ(step_length(autoregressive(), 3, 2, 1), 2);
}

TEST(Noise, BadInputIsNamed) {
  std::vector<std::int32_t> tokens = clean_tokens(8);
  const auto make = [&](NoiseOptions options, std::int64_t length, std::vector<float> p = {}) {
    return error_of([&] { make_noisy_batch(options, matrix(tokens, 2), length, 0, 2, p); });
  };
  NoiseOptions unknown = diffusion();
  unknown.mask_token = -1;
  EXPECT_TRUE(contains(make(unknown, 4), "model.mask_token"));
  EXPECT_TRUE(contains(make(diffusion(), 5), "5 tokens"));
  EXPECT_TRUE(contains(make(diffusion(), 0), "0 tokens"));
  EXPECT_TRUE(contains(make(diffusion(), 4, {0.5f}), "1 mask probabilities for 2"));
}

}  // namespace
}  // namespace lacuna
