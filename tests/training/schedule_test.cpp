#include "training/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tests/support/paths.h"
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

// As torchtitan: the warm-up is cut to the run, the decay to what it leaves.
TEST(Schedule, ShortRunsCutNumbersOfSteps) {
  OptimizerConfig config = config_of(Schedule::wsd);
  const auto lr = [&](std::int64_t steps, std::int64_t n) {
    return scheduled_learning_rate(config, steps, n);
  };
  EXPECT_DOUBLE_EQ(lr(200, 10), kHigh * 0.1);  // 100 of warm-up, 100 left of 250 of decay
  EXPECT_DOUBLE_EQ(lr(200, 100), kHigh);
  EXPECT_DOUBLE_EQ(lr(200, 150), (kHigh + kLow) / 2);
  EXPECT_DOUBLE_EQ(lr(200, 200), kLow);
  EXPECT_EQ(schedule_shortening(config, 350), "");
  EXPECT_EQ(
      schedule_shortening(config, 200),
      "a run of 200 steps is shorter than its schedule: optimizer.decay_steps = 250 is cut to "
      "100; a share such as 0.1 follows the run's length");
  for (const std::int64_t n : {1, 25, 50})  // warm-up alone
    EXPECT_DOUBLE_EQ(lr(50, n), kHigh * double(n) / 50);
  EXPECT_TRUE(contains(schedule_shortening(config, 50),
                       "warmup_steps = 100 is cut to 50 and optimizer.decay_steps = 250 is cut to "
                       "0;"));
  config.warmup_steps = 0;
  config.decay_steps = 0;
  for (const std::int64_t n : {1, 7, 10}) EXPECT_EQ(lr(10, n), kHigh);
  config.schedule = Schedule::cosine;
  EXPECT_DOUBLE_EQ(lr(10, 5), (kHigh + kLow) / 2);
  config.warmup_steps = 10;  // nothing is left for the cosine
  EXPECT_DOUBLE_EQ(lr(10, 10), kHigh);
  config.warmup_steps = 20;
  EXPECT_DOUBLE_EQ(lr(10, 5), kHigh / 2);
}

TEST(Schedule, SharesFollowTheRun) {
  OptimizerConfig config = config_of(Schedule::wsd);
  config.warmup_steps = kWarmup / double(kSteps);
  config.decay_steps = kDecay / double(kSteps);
  for (std::int64_t n = 1; n <= kSteps; ++n)  // the same bits as the numbers
    ASSERT_EQ(scheduled_learning_rate(config, kSteps, n), rate(Schedule::wsd, n)) << n;
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(config, 100, 5), kHigh / 2);
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(config, 100, 75), kHigh);
  EXPECT_DOUBLE_EQ(scheduled_learning_rate(config, 100, 100), kLow);
  EXPECT_EQ(schedule_summary(config, 4000),
            "wsd: 400 steps of warm-up, 2,600 at the peak, 1,000 of decay");
}

// Whatever the shares, the phases of any run make it up and every update has a rate in (0, hi].
TEST(Schedule, EveryLengthOfRunHasPhases) {
  for (const Schedule s : {Schedule::wsd, Schedule::cosine, Schedule::constant})
    for (const double warmup : {0.0, 0.05, 0.5, 0.999})
      for (const double decay : {0.0, 0.001, 0.4, 0.5})
        for (std::int64_t steps = 1; steps <= 40; ++steps) {
          OptimizerConfig config = config_of(s);
          config.warmup_steps = warmup;
          config.decay_steps = decay;
          const SchedulePhases phases = schedule_phases(config, steps);
          ASSERT_LE(phases.warmup + phases.decay, steps);
          EXPECT_LE(std::abs(double(phases.warmup) - warmup * double(steps)), 0.5);
          EXPECT_EQ(schedule_shortening(config, steps), "");
          for (std::int64_t n = 1; n <= steps; ++n) {
            const double lr = scheduled_learning_rate(config, steps, n);
            ASSERT_GT(lr, 0);
            ASSERT_LE(lr, kHigh);
          }
        }
}

// 100 and 800 of 2000 steps, as README's figures were trained.
TEST(Schedule, OfTheQuickStart) {
  const Config config = read_config(testing::source_path("configs/quickstart.toml"), {});
  const SchedulePhases phases = schedule_phases(config.optimizer, config.train.steps);
  EXPECT_EQ(config.train.steps, 2000);
  EXPECT_EQ(phases.warmup, 100);
  EXPECT_EQ(phases.decay, 800);
}

// LLaDA's own numbers of steps.
TEST(Schedule, OfLlada) {
  const Config big = read_config(testing::source_path("configs/llada-8b.toml"), {});
  EXPECT_EQ(schedule_phases(big.optimizer, big.train.steps).warmup, 2000);
  EXPECT_EQ(schedule_phases(big.optimizer, big.train.steps).decay, 57220);
  const Config small = read_config(testing::source_path("configs/llada-1b.toml"), {});
  EXPECT_EQ(schedule_phases(small.optimizer, small.train.steps).warmup, 2000);
  EXPECT_EQ(schedule_phases(small.optimizer, small.train.steps).decay, 2640);
}

TEST(Schedule, UpdatesCountFromOne) {
  EXPECT_TRUE(contains(error_of([] { rate(Schedule::wsd, 0); }), "count from 1"));
}

}  // namespace
}  // namespace lacuna
