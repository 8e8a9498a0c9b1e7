#include "core/philox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace lacuna {
namespace {

using Words = std::array<std::uint32_t, 4>;

// kat_vectors of Random123 1.14 (Salmon et al.), the lines "philox4x32 10": counter, key, result.
static_assert(philox({0, 0, 0, 0}, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
static_assert(philox({~0u, ~0u, ~0u, ~0u}, ~0ull) ==
              Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
static_assert(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822) ==
              Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});

/// The chance that a mean of n numbers in [0,1] is off by more than this is below 10^-9, by
/// Hoeffding's inequality 2 exp(-2 n d^2).
double bound(double n) { return std::sqrt(std::log(2e9) / (2 * n)); }

TEST(CounterRng, NamesItsNumbers) {
  // Seed, purpose, index and position all matter, each half of the index too.
  const CounterRng base{1, Purpose::mask, 2};
  std::set<Words> seen;
  seen.insert(base.block(3));
  seen.insert(base.block(4));
  seen.insert(CounterRng{2, Purpose::mask, 2}.block(3));
  seen.insert(CounterRng{1 | 1ull << 40, Purpose::mask, 2}.block(3));
  seen.insert(CounterRng{1, Purpose::gumbel, 2}.block(3));
  seen.insert(CounterRng{1, Purpose::mask, 3}.block(3));
  seen.insert(CounterRng{1, Purpose::mask, 2 | 1ull << 40}.block(3));
  EXPECT_EQ(seen.size(), 7u);
  EXPECT_EQ(base.block(3), (CounterRng{1, Purpose::mask, 2}.block(3)));
}

TEST(CounterRng, NeighboursShareABlock) {
  const CounterRng rng{5, Purpose::mask, 6};
  for (std::uint32_t i = 0; i < 40; ++i) {
    EXPECT_EQ(rng.bits(i), rng.block(i / 4)[i % 4]);
    EXPECT_EQ(rng.uniform(i), CounterRng::uniform_of(rng.bits(i)));
  }
  static_assert(CounterRng::uniform_of(0) == 0.0f);
  static_assert(CounterRng::uniform_of(~0u) == 1.0f - 0x1p-24f);
}

TEST(CounterRng, UniformNumbersAreUniform) {
  const CounterRng rng{7, Purpose::benchmark, 0};
  constexpr int n = 200000, bins = 16;
  std::vector<double> counts(bins);
  double mean = 0, mean53 = 0;
  for (std::uint32_t i = 0; i < n; ++i) {
    const float u = rng.uniform(i);
    ASSERT_TRUE(u >= 0 && u < 1);
    ++counts[std::size_t(u * bins)];
    mean += double(u) / n;
    const double v = rng.uniform53(i);
    ASSERT_TRUE(v > 0 && v < 1);
    const double scaled = v * 0x1p53;  // an odd integer, so exact
    ASSERT_EQ(std::fmod(scaled, 2), 1);
    mean53 += v / n;
  }
  for (const double c : counts) EXPECT_NEAR(c / n, 1.0 / bins, bound(n));
  EXPECT_NEAR(mean, 0.5, bound(n));
  EXPECT_NEAR(mean53, 0.5, bound(n));
}

TEST(CounterRng, IntegersBelowAreUniform) {
  const CounterRng rng{7, Purpose::benchmark, 1};
  constexpr int n = 100000;
  std::vector<double> counts(7);
  for (std::uint32_t i = 0; i < n; ++i) {
    const std::uint64_t x = rng.below(7, i);
    ASSERT_LT(x, 7u);
    ++counts[x];
  }
  for (const double c : counts) EXPECT_NEAR(c / n, 1.0 / 7, bound(n));
  for (std::uint32_t i = 0; i < 100; ++i) {
    EXPECT_EQ(rng.below(1, i), 0u);
    EXPECT_LT(rng.below(1ull << 63, i), 1ull << 63);
  }
}

TEST(CounterRng, NormalNumbersAreNormal) {
  const CounterRng rng{7, Purpose::benchmark, 2};
  constexpr int n = 200000;
  const double at[] = {-2, -1, 0, 0.5, 1.5};
  double below[2][5] = {}, product = 0;
  for (std::uint32_t i = 0; i < n; ++i) {
    const auto pair = rng.normal_pair(i);
    for (int k = 0; k < 2; ++k) {
      ASSERT_TRUE(std::isfinite(pair[std::size_t(k)]));
      for (int j = 0; j < 5; ++j) below[k][j] += pair[std::size_t(k)] < at[j];
    }
    product += pair[0] * pair[1] / n;
  }
  for (const auto& counts : below)
    for (int j = 0; j < 5; ++j)
      EXPECT_NEAR(counts[j] / n, 0.5 * std::erfc(-at[j] / std::sqrt(2.0)), bound(n)) << at[j];
  // Products of independent normal numbers have variance 1; six deviations.
  EXPECT_NEAR(product, 0, 6 / std::sqrt(double(n)));
}

}  // namespace
}  // namespace lacuna
