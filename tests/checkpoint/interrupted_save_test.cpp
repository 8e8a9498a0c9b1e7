// A process that is killed while it saves.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <random>

#include "tests/checkpoint/support.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::Folder;
using testing::SampleCheckpoint;

constexpr std::int64_t kWidth = 10'000;  // 0.8 MB per checkpoint: most of the time is spent writing

std::int64_t step_of(const fs::path& path) {
  return std::stoll(path.filename().string().substr(std::string("step-").size()));
}

/// Saves step after step, until killed. Tells of each through `done`.
[[noreturn]] void save_forever(const fs::path& run, std::int64_t step, int done) {
  for (;; ++step) {
    SampleCheckpoint(step, kWidth).save(checkpoint_path(run, step));
    if (::write(done, &step, sizeof step) != ssize_t(sizeof step)) _exit(1);
    prune_checkpoints(run, 2);
  }
}

TEST(InterruptedSave, leaves_whole_checkpoints_only) {
  const Folder folder;
  const fs::path run = folder / "run";
  std::mt19937 random(11);
  std::int64_t newest = 0, partial = 0;
  for (int round = 0; round < 15; ++round) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      try {
        save_forever(run, newest + 1, pipe[1]);
      } catch (...) {
        _exit(2);
      }
    }
    ::close(pipe[1]);
    std::int64_t told = newest;
    ASSERT_EQ(::read(pipe[0], &told, sizeof told), ssize_t(sizeof told));  // one is complete
    ::usleep(random() % 30'000);
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself, with " << status;
    while (::read(pipe[0], &told, sizeof told) == ssize_t(sizeof told)) {
    }
    ::close(pipe[0]);

    std::int64_t last = 0;
    for (const auto& entry : fs::directory_iterator(run / "checkpoints")) {
      if (entry.path().extension() == ".partial") {
        ++partial;
        continue;
      }
      const std::int64_t step = step_of(entry.path());
      ASSERT_TRUE(SampleCheckpoint(step, kWidth).matches(CheckpointReader(entry.path())));
      last = std::max(last, step);
    }
    ASSERT_GE(last, told);  // what was said to be saved is
    ASSERT_EQ(newest_valid_checkpoint(run), checkpoint_path(run, last));
    newest = last;
  }
  EXPECT_GT(partial, 0) << "no kill fell into a save: the test tested nothing";
  prune_checkpoints(run, 1);
  EXPECT_EQ(std::distance(fs::directory_iterator(run / "checkpoints"), {}), 1);
}

}  // namespace
}  // namespace lacuna
