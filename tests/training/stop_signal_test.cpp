#include "training/stop_signal.h"

#include <gtest/gtest.h>

#include <csignal>

namespace lacuna {
namespace {

TEST(StopSignal, TheFirstOneAsks) {
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) {
    const StopSignal stop;
    EXPECT_FALSE(StopSignal::requested());
    std::raise(signal);
    EXPECT_TRUE(StopSignal::requested());
  }
}

TEST(StopSignalDeathTest, TheSecondOneEnds) {
  for (const int second : {SIGINT, SIGTERM})
    EXPECT_EXIT(
        {
          const StopSignal stop;
          std::raise(SIGINT);
          std::raise(second);
        },
        ::testing::KilledBySignal(second), "finishing this step, then saving");
}

TEST(StopSignal, OnSeveralRanksOneIsLikeMany) {
  const StopSignal stop(1, 2);
  for (int i = 0; i < 3; ++i) std::raise(SIGTERM);
  EXPECT_TRUE(StopSignal::requested());
}

TEST(StopSignalDeathTest, AfterItAllIsAsBefore) {
  EXPECT_EXIT(
      {
        { const StopSignal stop; }
        std::raise(SIGTERM);
      },
      ::testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace lacuna
