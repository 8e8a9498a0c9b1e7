#include "evaluation/group_means.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lacuna {
namespace {

/// A share of n records, with the standard error that lm-evaluation-harness gives a mean.
Metric share(const std::string& name, double right, std::int64_t n) {
  const double p = right / double(n);
  return {name, p, std::sqrt(p * (1 - p) / double(n - 1)), n};
}

TaskResult task(double right, std::int64_t n) {
  TaskResult result;
  result.metrics = {share("acc", right, n)};
  result.records = n;
  return result;
}

TEST(GroupMeans, MicroIsTheMeanOfAllRecordsMacroThatOfTheTasks) {
  const TaskResult small = task(1, 2), large = task(30, 40);
  const TaskResult* tasks[] = {&small, &large};
  const GroupMeans means = group_means(tasks);
  ASSERT_EQ(means.micro.size(), 1u);
  EXPECT_EQ(means.micro[0].name, "acc");
  EXPECT_DOUBLE_EQ(means.micro[0].value, 31.0 / 42);
  EXPECT_EQ(means.micro[0].count, 42);
  // Of 2 records one is right, of 40 thirty: deviations squared sum to 0.5 and 7.5, of 40 degrees
  // of freedom.
  EXPECT_DOUBLE_EQ(means.micro[0].standard_error, std::sqrt(8.0 / 40 / 42));
  EXPECT_DOUBLE_EQ(means.macro[0].value, (0.5 + 0.75) / 2);
  EXPECT_EQ(means.macro[0].count, 2);
  EXPECT_DOUBLE_EQ(means.macro[0].standard_error, std::sqrt(0.25 / 1 + 0.75 * 0.25 / 39) / 2);
}

TEST(GroupMeans, WhatOneRecordTellsNothingAbout) {
  TaskResult one = task(1, 2), two = task(1, 2);
  one.metrics = {{"acc", 1, std::nan(""), 1}};
  two.metrics = one.metrics;
  const TaskResult* tasks[] = {&one, &two};
  const GroupMeans means = group_means(tasks);
  EXPECT_EQ(means.micro[0].value, 1);
  EXPECT_TRUE(std::isnan(means.micro[0].standard_error));
  EXPECT_TRUE(std::isnan(means.macro[0].standard_error));
}

TEST(GroupMeans, OfWhatAllTasksHave) {
  TaskResult one = task(1, 2), two = task(1, 2);
  two.metrics.push_back(share("acc_norm", 2, 2));
  const TaskResult* tasks[] = {&two, &one};
  EXPECT_EQ(group_means(tasks).micro.size(), 1u);
}

}  // namespace
}  // namespace lacuna
