#include "training/stop_signal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace lacuna {
namespace {

constexpr int kAsking[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};

/// Signals as a terminal's shell leaves them, whatever started the tests (nohup ignores SIGHUP).
class StopSignalTest : public ::testing::Test {
 protected:
  StopSignalTest() {
    for (const int signal : kAsking) std::signal(signal, SIG_DFL);
  }
};
using StopSignalDeathTest = StopSignalTest;

TEST_F(StopSignalTest, TheFirstOneAsks) {
  for (const int signal : kAsking) {
    const StopSignal stop;
    EXPECT_FALSE(StopSignal::requested());
    std::raise(signal);
    EXPECT_TRUE(StopSignal::requested());
  }
}

TEST_F(StopSignalDeathTest, TheSecondOneEnds) {
  for (const int second : {SIGINT, SIGTERM})
    EXPECT_EXIT(
        {
          const StopSignal stop;
          std::raise(SIGINT);
          std::raise(second);
        },
        ::testing::KilledBySignal(second), "finishing this step, then saving");
}

// A closed terminal sends SIGHUP more than once, and its session's end SIGTERM as well.
TEST_F(StopSignalDeathTest, OnlyTwoThatAUserSendsEnd) {
  EXPECT_EXIT(
      {
        const StopSignal stop;
        for (const int signal :
             {SIGHUP, SIGUSR1, SIGUSR2, SIGHUP, SIGUSR2, SIGUSR1, SIGTERM, SIGHUP})
          std::raise(signal);
        _exit(StopSignal::requested() ? 3 : 4);
      },
      ::testing::ExitedWithCode(3), "finishing this step, then saving");
  EXPECT_EXIT(
      {
        const StopSignal stop;
        for (const int signal : {SIGHUP, SIGTERM, SIGINT}) std::raise(signal);
      },
      ::testing::KilledBySignal(SIGINT), "");
}

TEST_F(StopSignalDeathTest, WhatWasIgnoredStaysIgnored) {
  for (const int signal : {SIGHUP, SIGTERM, SIGUSR1, SIGUSR2})
    EXPECT_EXIT(
        {
          std::signal(signal, SIG_IGN);  // as nohup does
          const StopSignal stop;
          std::raise(signal);
          _exit(StopSignal::requested() ? 4 : 3);
        },
        ::testing::ExitedWithCode(3), "");
  // But for what shells make every background job of a script ignore.
  EXPECT_EXIT(
      {
        std::signal(SIGINT, SIG_IGN);
        const StopSignal stop;
        std::raise(SIGINT);
        _exit(StopSignal::requested() ? 3 : 4);
      },
      ::testing::ExitedWithCode(3), "");
}

TEST_F(StopSignalDeathTest, AReaderThatIsGoneEndsNothing) {
  EXPECT_EXIT(
      {
        const StopSignal stop;
        int ends[2];
        if (pipe(ends) != 0) _exit(5);
        close(ends[0]);
        _exit(write(ends[1], "x", 1) < 0 && errno == EPIPE ? 3 : 4);
      },
      ::testing::ExitedWithCode(3), "");
}

TEST_F(StopSignalTest, OnSeveralRanksOneIsLikeMany) {
  const StopSignal stop(1, 2);
  for (int i = 0; i < 3; ++i) std::raise(SIGTERM);
  EXPECT_TRUE(StopSignal::requested());
}

TEST_F(StopSignalDeathTest, AfterItAllIsAsBefore) {
  for (const int signal : kAsking)
    EXPECT_EXIT(
        {
          { const StopSignal stop; }
          std::raise(signal);
        },
        ::testing::KilledBySignal(signal), "");
  EXPECT_EXIT(
      {
        std::signal(SIGHUP, SIG_IGN);
        { const StopSignal stop; }
        std::raise(SIGHUP);
        _exit(3);
      },
      ::testing::ExitedWithCode(3), "");
}

}  // namespace
}  // namespace lacuna
