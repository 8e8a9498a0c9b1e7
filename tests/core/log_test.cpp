#include "core/log.h"

#include <fcntl.h>
#include <pty.h>
#include <unistd.h>

#include <functional>

#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

std::string printed(const std::function<void()>& work) {
  ::testing::internal::CaptureStderr();
  work();
  return ::testing::internal::GetCapturedStderr();
}

/// What `work` prints when standard error is a terminal.
std::string printed_on_terminal(const std::function<void()>& work) {
  int ours = -1, theirs = -1;
  CHECK(openpty(&ours, &theirs, nullptr, nullptr, nullptr) == 0, "no terminal to be had");
  const int before = dup(STDERR_FILENO);
  dup2(theirs, STDERR_FILENO);
  work();
  dup2(before, STDERR_FILENO);
  close(before);
  close(theirs);
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(ours, buffer, sizeof buffer)) > 0;) text.append(buffer, std::size_t(n));
  close(ours);
  return text;
}

class Log : public ::testing::Test {
 protected:
  void TearDown() override { set_log_rank(0, 1); }
};

TEST_F(Log, PrintsLines) {
  EXPECT_EQ(printed([] {
              log_info("step 1");
              log_warning("skipped step 2");
            }),
            "step 1\nwarning: skipped step 2\n");
}

TEST_F(Log, OtherRanksOnlyWarn) {
  set_log_rank(2, 4);
  EXPECT_EQ(printed([] {
              log_info("step 1");
              log_progress("50 %");
              log_warning("slow disk");
            }),
            "rank 2 of 4: warning: slow disk\n");
  set_log_rank(0, 4);
  EXPECT_EQ(printed([] { log_info("step 1"); }), "step 1\n");
}

TEST_F(Log, WhatFilesSayGivesTerminalsNoCommands) {
  const std::string title =
      "\x1b]0;owned\x07 \xc2\x9b"
      "2J \xe2\x80\xae";
  const std::string seen =
      "\xe2\x90\x9b]0;owned\xe2\x90\x87 \xef\xbf\xbd"
      "2J \xef\xbf\xbd\n";
  EXPECT_EQ(printed([&] { log_info(title); }), seen);
  EXPECT_EQ(printed([&] { log_warning(title); }), "warning: " + seen);
  EXPECT_EQ(printed([&] { log_error(title); }), "lacuna: " + seen);
  EXPECT_EQ(printed_on_terminal([] {
              log_progress("a\x1b[5mb");
              log_progress("");
            }),
            "\r\033[Ka\xe2\x90\x9b[5mb\r\033[K");
}

TEST_F(Log, ErrorsComeFromAnyRank) {
  set_log_rank(2, 4);
  EXPECT_EQ(printed([] { log_error("no space"); }), "lacuna: no space\n");
}

TEST_F(Log, ProgressIsForTerminalsOnly) {
  EXPECT_EQ(printed([] {
              EXPECT_FALSE(log_is_terminal());
              log_progress("50 %");
              log_info("done");
            }),
            "done\n");
}

TEST_F(Log, ProgressIsRedrawnInPlace) {
  const std::string text = printed_on_terminal([] {
    EXPECT_TRUE(log_is_terminal());
    log_progress("50 %");
    log_progress("60 %");
    log_info("done");
    log_info("more");
  });
  // "\r" and "erase to the end of the line" before each; the terminal adds "\r" to line ends.
  EXPECT_EQ(text, "\r\033[K50 %\r\033[K60 %\r\033[Kdone\r\nmore\r\n");
}

TEST_F(Log, EmptyProgressClearsTheLine) {
  EXPECT_EQ(printed_on_terminal([] {
              log_progress("50 %");
              log_progress("");
              log_info("done");
            }),
            "\r\033[K50 %\r\033[Kdone\r\n");
}

}  // namespace
}  // namespace lacuna::testing
