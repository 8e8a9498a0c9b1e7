#include "data/mixture.h"

#include <cmath>
#include <set>

#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;

/// That samples [0, n) give each source's numbers 0, 1, 2 … once each, and drawn() counts them.
std::vector<std::int64_t> counted_draws(const Mixture& mixture, std::size_t sources,
                                        std::int64_t n) {
  std::vector<std::set<std::int64_t>> numbers(sources);
  for (std::int64_t i = 0; i < n; ++i) {
    const Mixture::Place place = mixture(i);
    EXPECT_TRUE(numbers[place.source].insert(place.number).second) << i;
  }
  std::vector<std::int64_t> counts;
  for (std::size_t j = 0; j < sources; ++j) {
    counts.push_back(std::int64_t(numbers[j].size()));
    EXPECT_EQ(mixture.drawn(j, n), counts.back());
    EXPECT_EQ(numbers[j].empty() ? 0 : *numbers[j].rbegin() + 1, counts.back());
  }
  return counts;
}

TEST(Mixture, SharesAreExactAfterEachPeriod) {
  const Mixture mixture({{0, {0.5, 0.25, 0.25}}}, 1);
  EXPECT_EQ(counted_draws(mixture, 3, 4096), (std::vector<std::int64_t>{2048, 1024, 1024}));
  EXPECT_EQ(counted_draws(mixture, 3, 3 * 4096), (std::vector<std::int64_t>{6144, 3072, 3072}));
  EXPECT_EQ(mixture.share(1, 77), 0.25);
  // Thirds are not: the parts that are left over go to the first of them.
  EXPECT_EQ(counted_draws(Mixture({{0, {1, 1, 1}}}, 1), 3, 4096),
            (std::vector<std::int64_t>{1366, 1365, 1365}));
}

TEST(Mixture, WithinAPeriodSharesAreNear) {
  const Mixture mixture({{0, {3, 1}}}, 9);
  for (const std::int64_t n : {256, 1000, 5000, 9000}) {
    const auto counts = counted_draws(mixture, 2, n);
    EXPECT_NEAR(double(counts[0]), 0.75 * double(n), 4 * std::sqrt(double(n) * 3 / 16));
  }
}

TEST(Mixture, AChangeOfWeightsLosesAndRepeatsNothing) {
  // Stages that end within a period, one that is shorter than one, and a source that comes later.
  const Mixture mixture({{0, {1, 1, 0}}, {5000, {1, 3, 0}}, {5100, {0, 1, 1}}}, 4);
  const auto first = counted_draws(mixture, 3, 5000);
  EXPECT_EQ(first[0] + first[1], 5000);
  const auto second = counted_draws(mixture, 3, 5100);
  EXPECT_EQ(second[2], 0);
  const auto all = counted_draws(mixture, 3, 5100 + 2 * 4096);
  EXPECT_EQ(all[0], second[0]);
  EXPECT_EQ(all[1], second[1] + 4096);
  EXPECT_EQ(all[2], 4096);
  EXPECT_EQ(mixture.share(0, 4999), 0.5);
  EXPECT_EQ(mixture.share(0, 5000), 0.25);
}

TEST(Mixture, ALaterStageChangesNothingBeforeIt) {
  const Mixture one({{0, {1, 1}}}, 4), two({{0, {1, 1}}, {5000, {1, 3}}}, 4);
  for (std::int64_t i = 0; i < 5000; ++i) {
    EXPECT_EQ(one(i).source, two(i).source);
    EXPECT_EQ(one(i).number, two(i).number);
  }
}

TEST(Mixture, SmallWeightsGetALongerPeriod) {
  const Mixture mixture({{0, {1, 1e-4}}}, 1);
  EXPECT_NEAR(mixture.share(1, 0), 1e-4, 1e-6);
  EXPECT_TRUE(contains(error_of([] { Mixture({{0, {1, 1e-9}}}, 1); }), "differ too much"));
  EXPECT_TRUE(contains(error_of([] { Mixture({{0, {0, 0}}}, 1); }), "sum to 0"));
}

TEST(Mixture, TheOrderDependsOnTheSeed) {
  const Mixture a({{0, {1, 1}}}, 1), b({{0, {1, 1}}}, 2);
  int different = 0;
  for (std::int64_t i = 0; i < 100; ++i) different += a(i).source != b(i).source;
  EXPECT_GT(different, 20);
}

}  // namespace
}  // namespace lacuna
