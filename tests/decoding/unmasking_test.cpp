#include "decoding/strategies/unmasking.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/support.h"

namespace lacuna {
namespace {

TEST(Unmasking, FillsAllTheRemainderFirst) {
  for (std::int64_t masked = 0; masked <= 20; ++masked)
    for (std::int64_t steps = 1; steps <= 25; ++steps) {
      std::int64_t sum = 0, most = 0, least = masked;
      for (std::int64_t step = 0; step < steps; ++step) {
        const std::int64_t n = unmasked_in_step(masked, steps, step);
        if (step > 0) {
          EXPECT_LE(n, unmasked_in_step(masked, steps, step - 1));
        }
        EXPECT_EQ(n > 0, step < busy_steps(masked, steps)) << masked << ' ' << steps << ' ' << step;
        sum += n;
        most = std::max(most, n);
        least = std::min(least, n);
      }
      EXPECT_EQ(sum, masked);
      EXPECT_LE(most - least, 1);
    }
}

TEST(Unmasking, TheMostConfidentAreChosen) {
  const std::vector<double> confidence = {0.1, 0.9, 0.5, 0.9, 0.5, 0.2};
  const auto chosen = [&](std::int64_t n) { return most_confident(confidence, n); };
  EXPECT_EQ(chosen(0), (std::vector<std::int64_t>{}));
  EXPECT_EQ(chosen(1), (std::vector<std::int64_t>{1}));  // of equal ones the lower
  EXPECT_EQ(chosen(2), (std::vector<std::int64_t>{1, 3}));
  EXPECT_EQ(chosen(3), (std::vector<std::int64_t>{1, 2, 3}));
  EXPECT_EQ(chosen(5), (std::vector<std::int64_t>{1, 2, 3, 4, 5}));
  EXPECT_EQ(chosen(6), (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_NE(testing::error_of([&] { chosen(7); }), "");
}

TEST(Unmasking, RandomConfidenceIsNamedBySeedSampleStepAndPosition) {
  const double c = random_confidence(1, 2, 3, 4);
  EXPECT_EQ(c, random_confidence(1, 2, 3, 4));
  EXPECT_NE(c, random_confidence(2, 2, 3, 4));
  EXPECT_NE(c, random_confidence(1, 3, 3, 4));
  EXPECT_NE(c, random_confidence(1, 2, 4, 4));
  EXPECT_NE(c, random_confidence(1, 2, 3, 5));
  EXPECT_GT(c, 0);
  EXPECT_LT(c, 1);
}

}  // namespace
}  // namespace lacuna
