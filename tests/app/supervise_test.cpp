// scripts/supervise.sh around jobs of the built program, and around commands that stand for it.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "checkpoint/checkpoint.h"
#include "tests/app/mpirun.h"
#include "tests/app/program.h"
#include "tests/app/ranked_run.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::contains;
using testing::Folder;
using testing::mpirun;
using testing::Program;
using testing::RankedRun;

using Words = std::vector<std::string>;

const std::string kScript = LACUNA_SUPERVISE;

/// What a shell script ended with that runs in a folder, and what it printed.
struct Ended {
  int code;
  std::string output;
};
Ended supervise(const Folder& folder, const Words& options, const std::string& command) {
  folder.write("job", "#!/bin/bash\n" + command);
  std::string line = "cd '" + folder / "" + "'; '" + kScript + "'";
  for (const std::string& word : options) line += " '" + word + "'";
  line += " -- bash job > output 2>&1";
  const int status = std::system(line.c_str());
  return {WEXITSTATUS(status), read_file(folder / "output")};
}
/// Counts its starts in a file.
const std::string kCount = "echo $* >> starts; n=$(wc -l < starts)\n";

std::int64_t starts(const Folder& folder) {
  const std::string lines = read_file(folder / "starts");
  return std::count(lines.begin(), lines.end(), '\n');
}

TEST(Supervise, GivesUpAfterSoManyFailuresWithoutProgress) {
  const Folder folder;
  const Ended ended =
      supervise(folder, {"--run", "run", "--failures", "3", "--wait", "0"}, kCount + "exit 7");
  EXPECT_EQ(ended.code, 7);
  EXPECT_EQ(starts(folder), 3);
  EXPECT_EQ(read_file(folder / "starts"), "--resume\n--resume\n--resume\n");
  EXPECT_TRUE(contains(ended.output, "no newer checkpoint than none in 3 starts: giving up"));
}

TEST(Supervise, ANewCheckpointIsProgress) {
  const Folder folder;
  const Ended ended = supervise(
      folder, {"--run", "run", "--failures", "2", "--wait", "0"},
      kCount +
          "mkdir -p run/checkpoints; [ $n -le 4 ] && touch run/checkpoints/step-0000000$n.h5\n"
          "[ $n -lt 9 ] || exit 0\nexit 1");
  // Four with progress, the fifth and the sixth without.
  EXPECT_EQ(ended.code, 1);
  EXPECT_EQ(starts(folder), 6);
  EXPECT_TRUE(contains(ended.output, "no newer checkpoint than step-00000004.h5 in 2 starts"));
}

TEST(Supervise, MistakesAreNotTriedAgain) {
  const Folder folder;
  EXPECT_EQ(supervise(folder, {"--run", "run"}, kCount + "exit 2").code, 2);
  EXPECT_EQ(starts(folder), 1);
  EXPECT_EQ(supervise(folder, {"--run", "run"}, kCount + "exit 0").code, 0);
  EXPECT_EQ(starts(folder), 2);
  EXPECT_EQ(supervise(folder, {}, "exit 0").code, 2);
  EXPECT_TRUE(contains(supervise(folder, {"--run", "r", "--failures", "many"}, "").output,
                       "--failures takes a whole number, not 'many'"));
  EXPECT_TRUE(contains(supervise(folder, {"--run", "r", "--nodes", "2"}, "").output,
                       "--hostfile and --nodes belong together"));
}

TEST(Supervise, AJobThatStallsIsEnded) {
  const Folder folder;
  const Ended ended =
      supervise(folder, {"--run", "run", "--failures", "1", "--wait", "0", "--stall", "1"},
                kCount + "exec sleep 100");
  EXPECT_EQ(ended.code, 128 + SIGTERM);
  EXPECT_TRUE(contains(ended.output, "no metrics and no checkpoint for 1 seconds"));
}

// The second host fails once the job has run: the third takes its place.
TEST(Supervise, SparesTakeThePlaceOfHostsThatDoNotAnswer) {
  const Folder folder;
  folder.write("hosts", "# a comment\n\none slots=2\ntwo slots=2\nthree slots=2\nfour");
  folder.write("probe", "[ \"$1\" = two ] && [ -e starts ] && exit 1; exit 0");
  const std::string line =
      "cd '" + folder / "" + "'; '" + kScript +
      "' --run run --wait 0 --hostfile hosts --nodes 2 --probe 'bash probe {host}' -- bash -c '" +
      "cat {hosts} >> starts; echo >> starts; [ $(wc -l < starts) -gt 3 ]' > output 2>&1";
  EXPECT_EQ(WEXITSTATUS(std::system(line.c_str())), 0) << read_file(folder / "output");
  EXPECT_EQ(read_file(folder / "starts"),
            "one slots=2\ntwo slots=2\n\none slots=2\nthree slots=2\n\n");
  EXPECT_TRUE(contains(read_file(folder / "output"), "two does not answer: left out"));
}

class SupervisedRun : public RankedRun {
 protected:
  Words pretrain(const std::string& run, int steps) const {
    Words words = {"pretrain", "--config", config_};
    for (const std::string& setting :
         {"train.output=" + run, str("train.steps=", steps),
          std::string("train.checkpoint_every=20"), std::string("train.async_checkpoint=true")})
      words.insert(words.end(), {"--set", setting});
    return words;
  }
  static Words supervised(const std::string& run, int ranks) {
    Words words = {kScript, "--run", run, "--wait", "0", "--"};
    const Words launcher = mpirun(ranks);
    words.insert(words.end(), launcher.begin(), launcher.end());
    return words;
  }
};

TEST_F(SupervisedRun, FiveKillsEndInTheBitsOfNone) {
  constexpr int steps = 600;
  const std::string quiet = folder_ / "quiet", killed = folder_ / "killed";
  Program alone(pretrain(quiet, steps), RLIM_INFINITY, "", mpirun(2));
  ASSERT_EQ(alone.wait(), 0) << alone.err();

  Program job(pretrain(killed, steps), RLIM_INFINITY, "", supervised(killed, 2));
  int kills = 0;
  for (std::size_t saved = 0; kills < 5 && job.running();) {
    const auto names = fs::exists(killed) ? saved_checkpoints(killed) : std::vector<fs::path>();
    const std::size_t step = names.empty() ? 0 : std::size_t(step_of_name(names[0].filename()));
    const auto ranks = ranks_of(job);
    // Each time after a checkpoint more, so that five fall into the run.
    if (step > saved && ranks.size() == 2) {
      kill(ranks.at(kills % 2), SIGKILL);
      saved = step;
      ++kills;
      while (job.running() && !ranks_of(job).empty())
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ASSERT_EQ(kills, 5) << job.err();
  EXPECT_EQ(job.wait(), 0) << job.err();
  const CheckpointReader a(newest_valid_checkpoint(quiet).value()),
      b(newest_valid_checkpoint(killed).value());
  ASSERT_EQ(a.info().step, steps);
  ASSERT_EQ(b.info().step, steps);
  EXPECT_EQ(a.info().tokens, b.info().tokens);
  for (const char* group : {"model", "first_moment", "second_moment"})
    for (const std::string& name : a.names(group)) {
      const Shape shape = a.shape(group, name);
      std::vector<float> x(std::size_t(shape.count())), y = x;
      a.read(group, name, Tensor(x.data(), shape));
      b.read(group, name, Tensor(y.data(), shape));
      EXPECT_TRUE(x == y) << group << "/" << name;
    }
}

TEST_F(SupervisedRun, AskedToStopItSavesAndStartsNothing) {
  Program job(pretrain(run_, 100000000), RLIM_INFINITY, "", supervised(run_, 2));
  job.wait_for("step 3/");
  job.send(SIGTERM);
  EXPECT_EQ(job.wait(), 0) << job.err();
  EXPECT_TRUE(contains(job.out(), "stopped after step "));
  EXPECT_FALSE(contains(job.err(), "goes on in"));
}

}  // namespace
}  // namespace lacuna
