#include "training/progress.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace lacuna {
namespace {

Progress some() {
  return {.step = 120,
          .steps = 2000,
          .loss = 5.21345,
          .grad_norm = 0.8444,
          .learning_rate = 9.2e-4,
          .tokens_per_second = 41234.4,
          .utilisation = 0.624,
          .elapsed = 80,
          .remaining = 725,
          .bad_steps = 0};
}

TEST(Progress, OneLine) {
  EXPECT_EQ(
      progress_line(some(), 0),
      "step 120/2,000  loss 5.213  grad 0.844  lr 9.20e-04  41,234 tok/s  62 % of peak  1m20s  "
      "ETA 12m05s");
  Progress p = some();
  p.bad_steps = 3;
  EXPECT_TRUE(progress_line(p, 0).ends_with("  3 skipped"));
}

TEST(Progress, FitsTheTerminal) {
  const std::string whole = progress_line(some(), 0);
  EXPECT_EQ(progress_line(some(), int(whole.size()) + 1), whole);
  for (int columns = int(whole.size()); columns > 20; --columns) {
    const std::string line = progress_line(some(), columns);
    EXPECT_LT(int(line.size()), columns);
    EXPECT_TRUE(line.starts_with("step 120/2,000"));
  }
  EXPECT_EQ(progress_line(some(), 40), "step 120/2,000  loss 5.213  ETA 12m05s");
  EXPECT_EQ(progress_line(some(), 5), "step 120/2,000");
}

TEST(StepWindow, CoversTheLastSteps) {
  StepWindow window(2);
  EXPECT_TRUE(std::isnan(window.mean_loss()));
  EXPECT_EQ(window.tokens_per_second(), 0);
  window.add({.loss = 100, .tokens = 1, .flops = 1, .seconds = 100});
  window.add({.loss = 3, .tokens = 200, .flops = 10, .seconds = 1});
  window.add({.loss = 5, .tokens = 100, .flops = 50, .seconds = 2});
  EXPECT_DOUBLE_EQ(window.mean_loss(), 4);
  EXPECT_DOUBLE_EQ(window.tokens_per_second(), 100);  // 300 in 3 s: longer steps count more
  EXPECT_DOUBLE_EQ(window.flops_per_second(), 20);
}

TEST(StepWindow, LeavesOutLossesThatAreNotFinite) {
  StepWindow window(3);
  window.add({.loss = 2, .tokens = 1, .flops = 1, .seconds = 1});
  window.add(
      {.loss = std::numeric_limits<double>::quiet_NaN(), .tokens = 1, .flops = 1, .seconds = 1});
  window.add({.loss = 4, .tokens = 1, .flops = 1, .seconds = 1});
  EXPECT_DOUBLE_EQ(window.mean_loss(), 3);
}

}  // namespace
}  // namespace lacuna
