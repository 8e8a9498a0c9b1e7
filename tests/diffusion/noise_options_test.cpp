// What masked diffusion can do beside LLaDA's independent noise: stratified noise levels, counts
// instead of ratios, several views with complementary masks.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/philox.h"
#include "diffusion/block_noise.h"
#include "diffusion/noise.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::error_of;

constexpr std::int32_t kMaskId = 99;

NoiseOptions masked(MaskForm form = MaskForm::mask_ratio, std::int64_t views = 1,
                    bool complementary = false, std::int64_t stratum = 0) {
  NoiseOptions options;
  options.seed = 11;
  options.mask_token = kMaskId;
  options.blocks = {.sizes = {}, .form = form, .views = views, .complementary = complementary};
  options.stratum = stratum;
  return options;
}

LossBatch batch_of(const NoiseOptions& options, std::int64_t B, std::int64_t T,
                   std::int64_t first = 0, std::int64_t in_step = 1) {
  std::vector<std::int32_t> tokens(std::size_t(B * T));
  for (std::int64_t b = 0; b < B; ++b)
    std::iota(tokens.begin() + b * T, tokens.begin() + (b + 1) * T,
              std::int32_t(100 + (first + b) * T));
  return make_noisy_batch(options, Tensor(tokens.data(), {B, T}), T, first, in_step);
}

TEST(VanDerCorput, RanksByReversedDigits) {
  for (const std::int64_t n : {1, 2, 7, 8, 12, 100, 257}) {
    const auto reversed = [](std::int64_t i) {
      std::uint64_t r = 0;
      for (int digit = 0; digit < 16; ++digit) r |= std::uint64_t(i >> digit & 1) << (15 - digit);
      return r;
    };
    std::vector<std::int64_t> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(),
              [&](std::int64_t a, std::int64_t b) { return reversed(a) < reversed(b); });
    for (std::int64_t rank = 0; rank < n; ++rank)
      EXPECT_EQ(rank_in_van_der_corput(order[std::size_t(rank)], n), rank) << n;
  }
}

TEST(StratifiedLevels, OneInEachStratumOfAStep) {
  for (const std::int64_t B : {1, 2, 6, 16, 31}) {
    const NoiseOptions options = masked(MaskForm::mask_ratio, 1, false, B);
    for (std::int64_t step = 0; step < 50; ++step) {
      std::vector<double> levels;
      for (std::int64_t i = 0; i < B; ++i) levels.push_back(noise_level(options, step * B + i));
      std::sort(levels.begin(), levels.end());
      ASSERT_GE(levels.front(), 0);
      ASSERT_LT(levels.back(), 1);
      // Equal distances, from the last around to the first too.
      for (std::int64_t i = 0; i < B; ++i) {
        const double next = i + 1 < B ? levels[std::size_t(i + 1)] : levels[0] + 1;
        EXPECT_NEAR(next - levels[std::size_t(i)], 1.0 / double(B), 1e-12);
      }
    }
  }
}

// Each place in a step has a uniform level over steps: the loss stays unbiased. The bound is that
// of Dvoretzky, Kiefer and Wolfowitz, broken with a probability of 1e-9.
TEST(StratifiedLevels, EachSampleIsUniform) {
  constexpr std::int64_t B = 6, steps = 5000;
  const NoiseOptions options = masked(MaskForm::mask_ratio, 1, false, B);
  const double bound = std::sqrt(std::log(2 / 1e-9) / (2.0 * double(steps)));
  for (std::int64_t place = 0; place < B; ++place)
    for (const std::int64_t count : {1, 4}) {  // count 4: the first of four levels, of a block
      std::vector<double> levels;
      for (std::int64_t step = 0; step < steps; ++step)
        levels.push_back(first_noise_level(options, step * B + place, count));
      std::sort(levels.begin(), levels.end());
      double distance = 0;
      for (std::int64_t i = 0; i < steps; ++i)
        distance = std::max({distance, std::abs(levels[std::size_t(i)] - double(i) / steps),
                             std::abs(levels[std::size_t(i)] - double(i + 1) / steps)});
      EXPECT_LT(distance, bound) << place << ' ' << count;
    }
}

// The levels of all blocks of all samples of a step lie in strata of their own.
TEST(StratifiedLevels, OfBlocksToo) {
  constexpr std::int64_t B = 4, blocks = 6;
  const NoiseOptions options = masked(MaskForm::mask_ratio, 1, false, B);
  for (std::int64_t step = 0; step < 20; ++step) {
    std::vector<double> levels;
    for (std::int64_t i = 0; i < B; ++i)
      for (std::int64_t b = 0; b < blocks; ++b)
        levels.push_back(block_level(first_noise_level(options, step * B + i, blocks), b, blocks));
    std::sort(levels.begin(), levels.end());
    for (std::size_t i = 0; i + 1 < levels.size(); ++i)
      EXPECT_NEAR(levels[i + 1] - levels[i], 1.0 / double(B * blocks), 1e-12);
  }
}

// Ranks take consecutive samples of a step. With n = 2^k of them, sizes alike, the r-th sample's
// rank r' has r' mod n = const, so that their mean levels differ by less than a stratum of each.
TEST(StratifiedLevels, RanksHaveNearlyEqualSums) {
  constexpr std::int64_t B = 32;
  const NoiseOptions options = masked(MaskForm::mask_ratio, 1, false, B);
  for (const std::int64_t ranks : {2, 4, 8})
    for (std::int64_t step = 0; step < 200; ++step) {
      const std::int64_t each = B / ranks;
      double least = 1, most = 0;
      for (std::int64_t rank = 0; rank < ranks; ++rank) {
        double mean = 0;
        for (std::int64_t i = 0; i < each; ++i)
          mean += noise_level(options, step * B + rank * each + i) / double(each);
        least = std::min(least, mean);
        most = std::max(most, mean);
      }
      EXPECT_LT(most - least, 1.0 / double(each));
    }
}

// The probability that exactly the tokens S of n are masked, times the weight of each, is
// 1 / (n |S| C(n,|S|)) in every form, so that the weighted sum of any cross-entropies c(S, i) has
// the same expectation in all of them. Of all 2^n - 1 subsets; weights are multiplied by n here.
TEST(NoiseForms, EverySubsetHasTheSameWeight) {
  constexpr std::int64_t n = 3, B = 240000;
  const double wanted[] = {0, 1.0 / 3, 1.0 / 6, 1.0 / 3};  // by |S|
  const NoiseOptions forms[] = {
      masked(),
      masked(MaskForm::mask_ratio, 1, false, 16),
      masked(MaskForm::mask_count),
      masked(MaskForm::mask_count, 1, false, 16),
      masked(MaskForm::mask_ratio, 3),
      masked(MaskForm::mask_ratio, 2, true),
      masked(MaskForm::mask_count, 2, true),
      masked(MaskForm::mask_count, 4, true, 16),
  };
  for (const NoiseOptions& options : forms) {
    const std::int64_t views = options.blocks.views, count = B / views;
    const LossBatch batch = batch_of(options, count, n, 0, count);
    ASSERT_EQ(batch.sequences, count * views);
    std::vector<double> sums(1 << n);
    std::size_t m = 0;
    for (std::int64_t s = 0; s < batch.sequences; ++s) {
      unsigned set = 0;
      double weight = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        const auto row = std::size_t(s * n + i);
        if (!batch.masked[row]) continue;
        set |= 1u << i;
        ASSERT_EQ(batch.rows[m], std::int32_t(row));
        EXPECT_EQ(batch.tokens[row], kMaskId);
        EXPECT_EQ(batch.targets[m], std::int32_t(100 + s / views * n + i));
        weight = batch.weights[m++];
      }
      sums[set] += weight * double(n);
    }
    EXPECT_EQ(m, batch.rows.size());
    for (unsigned set = 1; set < 1u << n; ++set)
      EXPECT_NEAR(sums[set], wanted[std::popcount(set)], 0.02)
          << set << ' ' << word_of(options.mask_form()) << ' ' << views;
  }
}

TEST(NoiseForms, ComplementaryViewsMaskEachTokenOnce) {
  for (const MaskForm form : {MaskForm::mask_ratio, MaskForm::mask_count}) {
    constexpr std::int64_t B = 5, T = 24;
    const LossBatch batch = batch_of(masked(form, 4, true), B, T);
    for (std::int64_t s = 0; s < batch.sequences; s += 2)
      for (std::int64_t i = 0; i < T; ++i)
        EXPECT_EQ(batch.masked[std::size_t(s * T + i)] + batch.masked[std::size_t((s + 1) * T + i)],
                  1);
    EXPECT_EQ(batch.rows.size(), std::size_t(B * T * 2));
    EXPECT_EQ(batch.views, 4);
  }
}

// One view with ratios is LLaDA's noise, by the path that has no views.
TEST(NoiseForms, TheFirstViewWithRatiosIsTheOnlyOnes) {
  constexpr std::int64_t T = 40;
  const LossBatch one = batch_of(masked(), 1, T),
                  two = batch_of(masked(MaskForm::mask_ratio, 2), 1, T);
  for (std::int64_t i = 0; i < T; ++i)
    EXPECT_EQ(one.masked[std::size_t(i)], two.masked[std::size_t(i)]);
  EXPECT_EQ(one.p[0], two.p[0]);
}

// The noise is a function of sample numbers alone.
TEST(NoiseForms, AnyCutIntoMicroBatchesGivesTheSame) {
  constexpr std::int64_t B = 12, T = 17;
  for (const NoiseOptions& options :
       {masked(MaskForm::mask_ratio, 1, false, B), masked(MaskForm::mask_count, 1, false, B),
        masked(MaskForm::mask_count, 2, true, B)}) {
    const LossBatch whole = batch_of(options, B, T, 2 * B, B);
    for (const std::int64_t size : {1, 4}) {
      LossBatch all;
      for (std::int64_t at = 0; at < B; at += size) {
        const LossBatch part = batch_of(options, size, T, 2 * B + at, B);
        all.masked.insert(all.masked.end(), part.masked.begin(), part.masked.end());
        all.weights.insert(all.weights.end(), part.weights.begin(), part.weights.end());
        all.tokens.insert(all.tokens.end(), part.tokens.begin(), part.tokens.end());
      }
      EXPECT_EQ(all.masked, whole.masked);
      EXPECT_EQ(all.weights, whole.weights);
      EXPECT_EQ(all.tokens, whole.tokens);
    }
  }
}

TEST(NoiseForms, WithShiftedLogitsTheFirstTokenIsGiven) {
  NoiseOptions options = masked(MaskForm::mask_count, 2, true);
  options.logits_shift = true;
  constexpr std::int64_t B = 3, T = 9;
  const LossBatch batch = batch_of(options, B, T);
  EXPECT_EQ(batch.shift, 1);
  EXPECT_EQ(batch.rows.size(), std::size_t(B * (T - 1)));
  for (std::size_t m = 0; m < batch.rows.size(); ++m) {
    const auto row = std::size_t(batch.rows[m] + 1);
    EXPECT_NE(row % T, 0u);
    EXPECT_EQ(batch.masked[row], 1);
  }
  // A sequence of one token has nothing to predict.
  EXPECT_TRUE(batch_of(options, 2, 1).rows.empty());
}

TEST(NoiseForms, BadInputIsNamed) {
  NoiseOptions unknown = masked(MaskForm::mask_count);
  unknown.mask_token = -1;
  EXPECT_EQ(error_of([&] { batch_of(unknown, 2, 4); }),
            "the masked_diffusion objective needs model.mask_token, which is -1");
  std::vector<std::int32_t> tokens(4, 1);
  EXPECT_EQ(error_of([&] {
              make_noisy_batch(masked(MaskForm::mask_count), Tensor(tokens.data(), {1, 4}), 4, 0, 1,
                               {0.5f});
            }),
            "mask probabilities of several views, or of counts, are each view's");
}

}  // namespace
}  // namespace lacuna
