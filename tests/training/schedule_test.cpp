#include "training/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;

constexpr double kHigh = 3e-3, kLow = 2e-4;
constexpr std::int64_t kSteps = 1000, kWarmup = 100, kDecay = 250;

OptimizerConfig config_of(Schedule schedule) {
  OptimizerConfig config;
  config.schedule = schedule;
  config.learning_rate = kHigh;
  config.min_learning_rate = kLow;
  config.warmup_steps = kWarmup;
  config.decay_steps = kDecay;
  return config;
}
double rate(Schedule schedule, std::int64_t n) {
  return scheduled_learning_rate(config_of(schedule), kSteps, n);
}

TEST(Schedule, WarmsUpInAStraightLine) {
  for (const Schedule s : {Schedule::wsd, Schedule::cosine, Schedule::constant})
    for (const std::int64_t n : {1, 2, 50, 99, 100})
      EXPECT_DOUBLE_EQ(rate(s, n), kHigh * double(n) / 100) << word_of(s) << " " << n;
}

TEST(Schedule, ConstantStays) {
  for (const std::int64_t n : {101, 500, 1000, 5000}) EXPECT_EQ(rate(Schedule::constant, n), kHigh);
}

TEST(Schedule, WsdIsStableThenDecaysInAStraightLine) {
  for (const std::int64_t n : {101, 400, 749, 750}) EXPECT_EQ(rate(Schedule::wsd, n), kHigh);
  // A fifth of the way through the last 250 updates, half of it, and the end.
  EXPECT_DOUBLE_EQ(rate(Schedule::wsd, 800), kHigh - (kHigh - kLow) / 5);
  EXPECT_DOUBLE_EQ(rate(Schedule::wsd, 875), (kHigh + kLow) / 2);
  EXPECT_DOUBLE_EQ(rate(Schedule::wsd, 1000), kLow);
  // Equal steps down.
  const double step = rate(Schedule::wsd, 801) - rate(Schedule::wsd, 800);
  EXPECT_NEAR(step, -(kHigh - kLow) / 250, 1e-15);
  EXPECT_NEAR(rate(Schedule::wsd, 751) - kHigh, step, 1e-15);
}

TEST(Schedule, CosineFollowsTheCosine) {
  EXPECT_DOUBLE_EQ(rate(Schedule::cosine, 550), (kHigh + kLow) / 2);  // half-way from 100 to 1000
  const double third = kLow + (kHigh - kLow) * (1 + std::cos(std::numbers::pi / 3)) / 2;
  EXPECT_NEAR(rate(Schedule::cosine, 400), third, 1e-15);
  EXPECT_DOUBLE_EQ(rate(Schedule::cosine, 1000), kLow);
  // Symmetric about its middle.
  for (const std::int64_t d : {1, 100, 449})
    EXPECT_NEAR(rate(Schedule::cosine, 550 - d) + rate(Schedule::cosine, 550 + d), kHigh + kLow,
                1e-15);
}

TEST(Schedule, NeverAboveTheHighest) {
  for (const Schedule s : {Schedule::wsd, Schedule::cosine, Schedule::constant})
    for (std::int64_t n = 1; n <= kSteps; ++n) {
      EXPECT_LE(rate(s, n), kHigh);
      EXPECT_GT(rate(s, n), 0);
    }
}

TEST(Schedule, ShortRuns) {
  OptimizerConfig config = config_of(Schedule::wsd);
  // Warm-up 100 and decay 250 of 200 steps: the line to lo began before the run did.
  const auto decay = [](std::int64_t n) { return kHigh + (kLow - kHigh) * double(n + 50) / 250; };
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(config, 200, 10), kHigh * 0.1);
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(config, 200, 90), decay(90));
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(config, 200, 200), kLow);
  config.warmup_steps = 0;
  config.decay_steps = 0;
  for (const std::int64_t n : {1, 7, 10}) EXPECT_EQ(scheduled_learning_rate(config, 10, n), kHigh);
  config.schedule = Schedule::cosine;
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(config, 10, 5), (kHigh + kLow) / 2);
  config.warmup_steps = 10;  // nothing is left for the cosine
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(config, 10, 10), kHigh);
}

TEST(Schedule, UpdatesCountFromOne) {
  EXPECT_TRUE(contains(error_of([] { rate(Schedule::wsd, 0); }), "count from 1"));
}

}  // namespace
}  // namespace lacuna
