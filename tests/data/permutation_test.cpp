#include "data/permutation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/check.h"

namespace lacuna {
namespace {

CounterRng rng(std::uint64_t seed, std::uint64_t epoch = 0) {
  return {seed, Purpose::data_order, epoch};
}
std::vector<std::int64_t> all(const Permutation& p, std::int64_t n) {
  std::vector<std::int64_t> values;
  for (std::int64_t i = 0; i < n; ++i) values.push_back(p(i));
  return values;
}

TEST(Permutation, ReachesEveryItemOnce) {
  std::vector<std::int64_t> sizes;
  for (std::int64_t n = 1; n <= 70; ++n) sizes.push_back(n);
  for (std::int64_t n : {255, 256, 257, 1000, 1023, 1024, 1025, 4095, 4097, 50021, 65537})
    sizes.push_back(n);
  for (const std::int64_t n : sizes) {
    for (std::uint64_t epoch : {0, 1}) {
      const Permutation p(n, rng(7, epoch));
      std::vector<bool> seen(std::size_t(n), false);
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t to = p(i);
        ASSERT_TRUE(to >= 0 && to < n) << n;
        ASSERT_FALSE(seen[std::size_t(to)]) << n;
        seen[std::size_t(to)] = true;
      }
    }
  }
}

TEST(Permutation, DiffersByEpochAndSeed) {
  const std::int64_t n = 1000;
  const auto base = all(Permutation(n, rng(1, 0)), n);
  EXPECT_EQ(base, all(Permutation(n, rng(1, 0)), n));
  EXPECT_NE(base, all(Permutation(n, rng(1, 1)), n));
  EXPECT_NE(base, all(Permutation(n, rng(2, 0)), n));
}

TEST(Permutation, LooksRandom) {
  // Items that keep their place are few (Poisson of mean 1), and neighbours are sent far apart: the
  // mean distance of two random places is n / 3.
  const std::int64_t n = 10000;
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const auto p = all(Permutation(n, rng(seed)), n);
    int fixed = 0;
    double distance = 0;
    for (std::int64_t i = 0; i < n; ++i) fixed += p[std::size_t(i)] == i;
    for (std::size_t i = 1; i < p.size(); ++i) distance += std::abs(double(p[i] - p[i - 1]));
    EXPECT_LE(fixed, 10);
    EXPECT_NEAR(distance / double(n - 1) / double(n), 1.0 / 3, 0.01);
  }
}

TEST(Permutation, TakesHugeCounts) {
  const std::int64_t n = (std::int64_t{1} << 40) + 3;
  const Permutation p(n, rng(1));
  for (std::int64_t i : {std::int64_t{0}, n / 2, n - 1}) {
    EXPECT_GE(p(i), 0);
    EXPECT_LT(p(i), n);
  }
  EXPECT_THROW(p(n), Error);
  EXPECT_THROW(p(-1), Error);
  EXPECT_THROW(Permutation(0, rng(1)), Error);
}

// The order of a run's data is part of what its seed means: it must not change between versions.
// The values were computed by a second implementation, in Python.
TEST(Permutation, StaysAsItIs) {
  using Values = std::vector<std::int64_t>;
  EXPECT_EQ(all(Permutation(10, rng(1, 0)), 10), (Values{3, 0, 9, 4, 6, 7, 2, 5, 1, 8}));
  EXPECT_EQ(all(Permutation(10, rng(1, 1)), 10), (Values{4, 0, 5, 8, 9, 6, 1, 2, 7, 3}));
}

}  // namespace
}  // namespace lacuna
