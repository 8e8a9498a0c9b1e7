// Jobs of four ranks that go wrong: all of it ends, with one message and the right exit code.
#include <sys/wait.h>

#include <cstdio>

#include "tests/support/device.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;

struct Ended {
  int code;
  std::string output;  // of standard output and standard error
};

Ended run(const std::string& command) {
  // A job that hangs is ended with 124: no test below expects that.
  FILE* pipe = popen(("timeout --kill-after=5 100 " + command + " 2>&1").c_str(), "r");
  CHECK(pipe, "cannot start ", command);
  Ended ended{-1, ""};
  char buffer[4096];
  while (const std::size_t n = std::fread(buffer, 1, sizeof buffer, pipe))
    ended.output.append(buffer, n);
  const int status = pclose(pipe);
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ended;
}
Ended run_ranks_with(const std::string& fault) {
  return run(LACUNA_MPIRUN " -n 4 " LACUNA_FAULT_PROGRAM " " + fault);
}

/// The lines of ours.
std::vector<std::string> messages(const Ended& ended) {
  std::vector<std::string> lines;
  std::istringstream all(ended.output);
  for (std::string line; std::getline(all, line);)
    if (line.find("lacuna: ") != std::string::npos) lines.push_back(line);
  return lines;
}

void expect_message(const Ended& ended, int code, const std::string& message) {
  EXPECT_EQ(ended.code, code) << ended.output;
  EXPECT_EQ(messages(ended), std::vector<std::string>{"lacuna: " + message}) << ended.output;
}
/// Like it, of a message that has some of several forms.
void expect_message_with(const Ended& ended, int code, const std::vector<std::string>& parts) {
  EXPECT_EQ(ended.code, code) << ended.output;
  const auto lines = messages(ended);
  ASSERT_EQ(lines.size(), 1u) << ended.output;
  for (const std::string& part : parts) EXPECT_TRUE(contains(lines[0], part));
}

TEST(Faults, NoneEndsWell) {
  const Ended ended = run_ranks_with("none");
  EXPECT_EQ(ended.code, 0);
  EXPECT_EQ(ended.output, "");
}

TEST(Faults, AnErrorOnOneRankEndsAll) {
  expect_message(run_ranks_with("error"), 1, "rank 2 of 4: tokens.h5: no space left on device");
  expect_message(run_ranks_with("error_on_rank_0"), 1, "rank 0 of 4: cannot write the log");
  expect_message(run_ranks_with("no_memory"), 1, "rank 3 of 4: std::bad_alloc");
}

TEST(Faults, AMistakeOfTheUserHasExitCodeTwo) {
  expect_message(run_ranks_with("usage_error"), 2, "rank 1 of 4: --gen-length must be positive");
}

TEST(Faults, WhatAllRanksSayIsSaidOnce) {
  expect_message(run_ranks_with("same_error"), 2,
                 "pretrain.toml:3: unknown key 'stesp'; did you mean 'steps'?");
}

TEST(Faults, AnErrorLeavesQueuedCollectivesBehind) {
  expect_message(run_ranks_with("error_with_queue"), 1, "rank 2 of 4: a tensor went wrong");
}

TEST(Faults, AnExitCodeIsPassedOn) {
  const Ended ended = run_ranks_with("exit_code");
  EXPECT_EQ(ended.code, 3) << ended.output;
  EXPECT_TRUE(messages(ended).empty()) << ended.output;
}

// The launcher sees this one: it says which rank, and ends the others.
TEST(Faults, AKilledRankEndsAll) {
  for (const int rank : {0, 1}) {
    const Ended ended = run_ranks_with(rank == 0 ? "killed_rank_0" : "killed");
    EXPECT_EQ(ended.code, 128 + 9) << ended.output;
    EXPECT_TRUE(contains(ended.output, str("rank ", rank, " with PID"))) << ended.output;
    EXPECT_TRUE(contains(ended.output, "exited on signal 9")) << ended.output;
  }
}

TEST(Watchdog, NamesTheRankThatDoesNotCome) {
  expect_message_with(run_ranks_with("late"), 1,
                      {" of 4: all_reduce 11 (max of 200000 f32) of group 'world' made no progress "
                       "for ",
                       ", waiting for rank 2; rank 2 is in no collective"});
}

TEST(Watchdog, LetsSlowRanksBe) {
  const Ended ended = run_ranks_with("slow");
  EXPECT_EQ(ended.code, 0);
  EXPECT_EQ(ended.output, "");
}

TEST(Watchdog, SaysWhenARankDoesNotAnswer) {
  expect_message_with(run_ranks_with("stopped"), 1,
                      {"all_reduce 11 (max of 200000 f32) of group 'world'",
                       ", waiting for rank 3; rank 3 does not answer"});
}

TEST(Watchdog, DoesWithoutRankZero) {
  expect_message_with(run_ranks_with("stopped_rank_0"), 1,
                      {"rank 1 of 4: all_reduce 11 (max of 200000 f32) of group 'world'",
                       ", waiting for rank 0; rank 0 does not answer"});
}

TEST(Watchdog, ShowsADeadlock) {
  const Ended ended = run_ranks_with("deadlock");
  EXPECT_EQ(ended.code, 1) << ended.output;
  const auto lines = messages(ended);
  ASSERT_EQ(lines.size(), 1u) << ended.output;
  // Rank 0's view, or that of one of the others, whichever comes first.
  EXPECT_TRUE(contains(lines[0], "barrier 1 of group 'world'"));
  EXPECT_TRUE(contains(lines[0], "barrier 1 of group 'other'"));
  EXPECT_TRUE(contains(lines[0], "waiting for rank 0"));
}

TEST(Watchdog, DifferentCollectivesAreNoMystery) {
  expect_message_with(
      run_ranks_with("quarrel"), 1,
      {"ranks of group 'world' call different collectives: rank 0 all_reduce 1 (max "
       "of 200000 f32), rank 1 broadcast 1 (200000 f32 from rank 0)"});
}

/// The same of collectives on a device for each rank: the host only waits for its own device.
class NcclFaults : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!devices_.why_not.empty()) GTEST_SKIP() << devices_.why_not;
  }

 private:
  const testing::Devices devices_{4};
};

TEST_F(NcclFaults, NoneEndsWell) {
  for (const char* fault : {"none nccl", "slow nccl"}) {
    const Ended ended = run_ranks_with(fault);
    EXPECT_EQ(ended.code, 0);
    EXPECT_EQ(ended.output, "");
  }
}

// That the others lose a peer is noticed sooner than why.
TEST_F(NcclFaults, AnErrorOnOneRankIsWhatIsSaid) {
  expect_message(run_ranks_with("error nccl"), 1,
                 "rank 2 of 4: tokens.h5: no space left on device");
  expect_message(run_ranks_with("error_on_rank_0 nccl"), 1, "rank 0 of 4: cannot write the log");
  expect_message(run_ranks_with("no_memory nccl"), 1, "rank 3 of 4: std::bad_alloc");
}

TEST_F(NcclFaults, AnErrorAbortsQueuedCollectives) {
  expect_message(run_ranks_with("error_with_queue nccl"), 1, "rank 2 of 4: a tensor went wrong");
}

TEST_F(NcclFaults, AKilledRankEndsAll) {
  for (const int rank : {0, 1}) {
    const Ended ended = run_ranks_with(rank == 0 ? "killed_rank_0 nccl" : "killed nccl");
    EXPECT_EQ(ended.code, 128 + 9) << ended.output;
    EXPECT_TRUE(contains(ended.output, str("rank ", rank, " with PID"))) << ended.output;
  }
}

#if !defined(LACUNA_CUDA)  // how soon a real NCCL notices depends on the link
TEST_F(NcclFaults, ALostPeerEndsAll) {
  expect_message_with(run_ranks_with("leaves nccl"), 1,
                      {"all_reduce 11 (max of 200000 f32) of group 'world': NCCL: a peer is "
                       "missing, rank 2 of the communicator is gone"});
}
#endif

TEST_F(NcclFaults, TheWatchNamesTheRankThatDoesNotCome) {
  const std::string stuck =
      "all_reduce 11 (max of 200000 f32) of group 'world' made no progress for ";
  expect_message_with(run_ranks_with("late nccl"), 1, {stuck, "rank 2 is in no collective"});
  expect_message_with(run_ranks_with("stopped_rank_0 nccl"), 1, {stuck, "rank 0 does not answer"});
}

TEST(Agreement, RanksWithOtherConfigurationsAreRefused) {
  expect_message(run_ranks_with("configurations"), 2,
                 "the configuration must be the same on every rank, but rank 0 and rank 2 have "
                 "'seed = 1' and 'seed = 2'");
}

TEST(Agreement, AGridThatDoesNotDivideIsRefused) {
  expect_message(
      run_ranks_with("grid"), 2,
      "parallel.tensor_parallel = 3 does not divide the 4 ranks of this run: make it 1, 2 or 4; "
      "or start a multiple of 3 ranks (mpirun -n)");
}

TEST(Faults, OneRankNeedsNoLauncher) {
  const Ended ended = run(LACUNA_FAULT_PROGRAM " same_error");
  expect_message(ended, 2, "pretrain.toml:3: unknown key 'stesp'; did you mean 'steps'?");
  EXPECT_EQ(run(LACUNA_FAULT_PROGRAM " none").output, "");
}

}  // namespace
}  // namespace lacuna
