#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "core/philox.h"
#include "diffusion/noise.h"
#include "tests/support/golden.h"
#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

NoiseOptions noise(std::uint64_t seed, std::int32_t mask_token = 5000) {
  NoiseOptions options;
  options.seed = seed;
  options.mask_token = mask_token;
  return options;
}

/// A batch of clean tokens, nothing masked yet.
LossBatch clean_batch(std::vector<std::int32_t> tokens) {
  LossBatch batch;
  batch.masked.resize(tokens.size());
  batch.tokens = std::move(tokens);
  return batch;
}
std::vector<std::int32_t> tokens(std::int64_t count) {
  std::vector<std::int32_t> clean;
  for (std::int64_t i = 0; i < count; ++i) clean.push_back(std::int32_t(i % 1000));
  return clean;
}
/// Sequences of `length` tokens, one for each probability.
LossBatch masked_batch(const NoiseOptions& options, std::int64_t length,
                       const std::vector<float>& p, const std::vector<std::int64_t>& samples) {
  LossBatch batch = clean_batch(tokens(length * std::int64_t(p.size())));
  for (std::size_t b = 0; b < p.size(); ++b) {
    const std::int64_t begin = std::int64_t(b) * length;
    mask_sequence(options, {samples[b], begin, begin, begin + length}, p[b], 1, batch);
  }
  return batch;
}

// The file's numbers come from a second writing of Philox, in Python.
TEST(MaskSequence, AgreesWithTheSecondImplementation) {
  const Golden golden("kernels_corrupt");
  const NoiseOptions options =
      noise(std::stoull(golden.metadata("seed")), std::stoi(golden.metadata("mask_token")));
  const Tensor clean = golden["clean"];
  const auto* values = clean.as<std::int32_t>();
  LossBatch batch = clean_batch({values, values + clean.count()});
  for (std::int64_t b = 0; b < clean.rows(); ++b) {
    const std::int64_t begin = b * clean.cols();
    mask_sequence(options,
                  {golden["samples"].as<std::int64_t>()[b], begin, begin, begin + clean.cols()},
                  golden["p"].as<float>()[b], 1, batch);
  }
  for (std::int64_t i = 0; i < clean.count(); ++i) {
    EXPECT_EQ(batch.tokens[std::size_t(i)], golden["noisy"].as<std::int32_t>()[i]) << i;
    EXPECT_EQ(batch.masked[std::size_t(i)], golden["masked"].as<std::uint8_t>()[i]) << i;
  }
}

// Given tokens keep the positions of those behind them: a block of the generator may begin within
// them or at their end.
TEST(MaskSequence, IsWhatTheGeneratorSays) {
  const std::int64_t length = 601, sample = (std::int64_t{5} << 32) + 1;
  const CounterRng rng{11, Purpose::mask, std::uint64_t(sample)};
  for (const float p : {0.25f, 0.5f, 0.999f})
    for (const std::int64_t given : {0, 1, 2, 3, 4, 5, 600, 601}) {
      LossBatch batch = clean_batch(tokens(3 + length + 2));
      mask_sequence(noise(11), {sample, 3, 3 + given, 3 + length}, p, 0.125, batch);
      std::size_t m = 0;
      for (std::int64_t row = 0; row < 3 + length + 2; ++row) {
        const std::int64_t i = row - 3;
        const bool masked = i >= given && i < length && rng.uniform(std::uint32_t(i)) < p;
        ASSERT_EQ(batch.masked[std::size_t(row)], masked) << row;
        ASSERT_EQ(batch.tokens[std::size_t(row)], masked ? 5000 : row % 1000) << row;
        if (!masked) continue;
        ASSERT_LT(m, batch.rows.size());
        EXPECT_EQ(batch.rows[m], row);
        EXPECT_EQ(batch.targets[m], row % 1000);
        EXPECT_EQ(batch.weights[m], 0.125);
        ++m;
      }
      EXPECT_EQ(m, batch.rows.size());
      EXPECT_EQ(m, batch.targets.size());
      EXPECT_EQ(m, batch.weights.size());
    }
}

// The number of masked among n tokens is binomial. By Hoeffding's inequality the share is off by
// more than d with a chance below 2 exp(-2 n d^2): here one in 10^9 per ratio, if all is well.
TEST(MaskSequence, MasksTheShareAskedFor) {
  const std::int64_t rows = 64, cols = 4096;
  const double n = double(rows * cols), d = std::sqrt(std::log(2e9) / (2 * n));
  std::vector<std::int64_t> samples(std::size_t(rows), 0);
  std::iota(samples.begin(), samples.end(), 0);
  for (const float ratio : {0.001f, 0.15f, 0.5f, 0.9f}) {
    const LossBatch batch =
        masked_batch(noise(3), cols, std::vector<float>(std::size_t(rows), ratio), samples);
    const auto at = [&](std::int64_t b, std::int64_t i) {
      return batch.masked[std::size_t(b * cols + i)];
    };
    double masked = 0, pairs = 0;
    for (std::int64_t b = 0; b < rows; ++b) {
      for (std::int64_t i = 0; i < cols; ++i) {
        masked += at(b, i);
        // Neighbours, and the same place in the next row, are independent.
        if (i % 2 == 0 && b % 2 == 0) pairs += at(b, i) * at(b + 1, i + 1);
      }
    }
    EXPECT_NEAR(masked / n, double(ratio), d);
    EXPECT_NEAR(pairs / (n / 4), double(ratio) * double(ratio), 2 * d);  // a quarter of the trials
  }
}

TEST(MaskSequence, MasksNothingAtZeroAndEverythingAtOne) {
  const LossBatch batch = masked_batch(noise(5), 3000, {0.0f, 1.0f}, {0, 0});
  for (std::size_t i = 0; i < 3000; ++i) {
    ASSERT_EQ(batch.masked[i], 0);
    ASSERT_EQ(batch.masked[3000 + i], 1);
  }
}

TEST(MaskSequence, MasksMoreAsTheRatioGrows) {
  const LossBatch batch = masked_batch(noise(5), 3000, {0.3f, 0.6f}, {4, 4});
  for (std::size_t i = 0; i < 3000; ++i) ASSERT_LE(batch.masked[i], batch.masked[3000 + i]);
}

// A sequence's mask depends on its global number and positions, not on what else is in the batch.
TEST(MaskSequence, DoesNotDependOnTheBatch) {
  const LossBatch together = masked_batch(noise(5), 301, {0.5f, 0.4f, 0.3f}, {7, 8, 9}),
                  alone = masked_batch(noise(5), 100, {0.3f}, {9});
  for (std::size_t i = 0; i < 100; ++i) ASSERT_EQ(alone.masked[i], together.masked[602 + i]);
}

TEST(MaskSequence, OfNothing) {
  LossBatch batch = clean_batch({1, 2, 3});
  mask_sequence(noise(1), {0, 2, 2, 2}, 1, 1, batch);
  mask_sequence(noise(1), {0, 0, 3, 3}, 1, 1, batch);
  EXPECT_EQ(batch.tokens, (std::vector<std::int32_t>{1, 2, 3}));
  EXPECT_TRUE(batch.rows.empty());
}

TEST(MaskSequence, NeedsAMaskToken) {
  LossBatch batch = clean_batch({1, 2, 3});
  EXPECT_TRUE(contains(error_of([&] {
                         mask_sequence(noise(1, -7), {0, 0, 0, 3}, 1, 1, batch);
                       }),
                       "model.mask_token, which is -7"));
  EXPECT_EQ(batch.tokens, (std::vector<std::int32_t>{1, 2, 3}));
}

}  // namespace
}  // namespace lacuna::testing
