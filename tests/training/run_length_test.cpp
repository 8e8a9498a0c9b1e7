#include "training/run_length.h"

#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;

TrainConfig epochs(double epochs, std::int64_t batch_size) {
  TrainConfig train;
  train.epochs = epochs;
  train.batch_size = batch_size;
  return train;
}

TEST(RunLength, IsTrainStepsOrByDefaultAThousand) {
  TrainConfig train;
  EXPECT_EQ(last_step(train, 7), 1000);
  train.steps = 12;
  EXPECT_EQ(last_step(train, 7), 12);
  EXPECT_EQ(last_step(train, 7, {.step = 30, .samples = 300}), 12);
  EXPECT_EQ(epochs_summary(train, 7, 12), "");
}

TEST(RunLength, EpochsAreSamplesInBatchesRoundedUp) {
  EXPECT_EQ(last_step(epochs(1, 4), 12), 3);
  EXPECT_EQ(last_step(epochs(1, 4), 13), 4);
  EXPECT_EQ(last_step(epochs(3, 8), 10), 4);  // 30 samples, not 3 x 2 batches
  EXPECT_EQ(last_step(epochs(0.5, 4), 12), 2);
  EXPECT_EQ(last_step(epochs(1.1, 1), 10), 11);  // 1.1 x 10 is a bit more than 11 in doubles
  EXPECT_EQ(last_step(epochs(1e-9, 4), 10), 1);
  EXPECT_EQ(epochs_summary(epochs(3, 8), 10, 4), "3 epochs of 10 samples: 4 steps of 8");
  EXPECT_EQ(epochs_summary(epochs(1, 8), 1, 1), "1 epoch of 1 sample: 1 step of 8");
}

TEST(RunLength, AResumedRunKeepsItsLastStep) {
  for (const double passes : {1.0, 2.5, 3.0})
    for (const std::int64_t batch : {1, 4, 7})
      for (std::int64_t step = 0, last = last_step(epochs(passes, batch), 29); step <= last; ++step)
        EXPECT_EQ(last_step(epochs(passes, batch), 29, {.step = step, .samples = step * batch}),
                  last);
}

TEST(RunLength, AResumedRunOfOtherBatchesUsesTheSamplesThatAreLeft) {
  // 5 of batch 4 used 20 of 60; 40 are left.
  EXPECT_EQ(last_step(epochs(3, 8), 20, {.step = 5, .samples = 20}), 10);
  EXPECT_EQ(last_step(epochs(5, 4), 20, {.step = 15, .samples = 60}), 25);
  EXPECT_EQ(last_step(epochs(1, 4), 20, {.step = 15, .samples = 60}), 15);
}

TEST(RunLength, MoreStepsThanCanBeCounted) {
  EXPECT_TRUE(contains(error_of<UsageError>([] { last_step(epochs(1e9, 1), 1'000'000); }),
                       "train.epochs = 1e+09 of 1,000,000 samples in batches of 1 are more than "
                       "2,147,483,647 steps"));
}

TEST(StepCount, AnIntervalIsAtLeastOneStep) {
  EXPECT_EQ(StepCount(0.1).interval(200), 20);
  EXPECT_EQ(StepCount(0.001).interval(200), 1);
  EXPECT_EQ(StepCount(0.0).interval(200), 0);
  EXPECT_EQ(StepCount(7).interval(200), 7);
  EXPECT_EQ(StepCount(0).interval(200), 0);
}

}  // namespace
}  // namespace lacuna
