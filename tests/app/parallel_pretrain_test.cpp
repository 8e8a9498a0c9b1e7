// lacuna pretrain under mpirun: what can happen to some of its ranks, and ranks that share a
// device.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <sstream>

#include "checkpoint/checkpoint.h"
#include "core/atomic_file.h"
#include "core/text.h"
#include "kernels/backend.h"
#include "tests/app/byte_tokenizer.h"
#include "tests/app/device_runs.h"
#include "tests/app/mpirun.h"
#include "tests/app/program.h"
#include "tests/app/ranked_run.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::contains;
using testing::error_lines;
using testing::Folder;
using testing::mpirun;
using testing::Program;
using testing::RankedRun;

using Words = std::vector<std::string>;

class ParallelPretrain : public RankedRun {
 protected:
  std::unique_ptr<Program> start(int ranks, const Words& settings, bool resume = false) const {
    Words words = {"pretrain", "--config", config_};
    for (const std::string& s : settings) words.insert(words.end(), {"--set", s});
    if (resume) words.emplace_back("--resume");
    return std::make_unique<Program>(words, RLIM_INFINITY, "", mpirun(ranks));
  }
  Words checkpoints(const std::string& extension = ".h5") const {
    Words names;
    if (fs::exists(run_ + "/checkpoints"))
      for (const auto& entry : fs::directory_iterator(run_ + "/checkpoints"))
        if (entry.path().extension() == extension) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }
  std::int64_t newest_step() const {
    return CheckpointReader(newest_valid_checkpoint(run_).value()).info().step;
  }
};

// As Slurm does before a time limit: every rank gets the signal.
TEST_F(ParallelPretrain, SigtermSavesOnceAndEnds) {
  const auto job = start(4, {"parallel.tensor_parallel=2", "parallel.zero_stage=1"});
  job->wait_for("step 3/");
  for (const auto& [rank, process] : ranks_of(*job)) kill(process, SIGTERM);
  EXPECT_EQ(job->wait(), 0) << job->err();
  EXPECT_TRUE(contains(job->out(), "stopped after step "));
  EXPECT_EQ(checkpoints().size(), 1u);
  EXPECT_TRUE(checkpoints(".partial").empty());
  const std::int64_t step = newest_step();
  EXPECT_GE(step, 3);
  // Rank 0 alone told of it, once.
  const std::string out = job->out(), err = job->err();
  EXPECT_EQ(out.find("stopped after"), out.rfind("stopped after"));
  EXPECT_EQ(err.find("finishing this step"), err.rfind("finishing this step"));
  // And another layout goes on.
  const auto resumed = start(3, {str("train.steps=", step + 2)}, true);
  EXPECT_EQ(resumed->wait(), 0) << resumed->err();
  EXPECT_TRUE(contains(resumed->out(), str("done: step ", step + 2)));
  const std::string metrics = read_file(run_ + "/metrics.jsonl");
  EXPECT_EQ(std::count(metrics.begin(), metrics.end(), '\n'), step + 2);
}

// mpirun itself passes this one on.
TEST_F(ParallelPretrain, OneSignalToTheLauncherIsEnough) {
  const auto job = start(2, {});
  job->wait_for("step 2/");
  job->send(SIGUSR1);
  EXPECT_EQ(job->wait(), 0) << job->err();
  EXPECT_EQ(checkpoints().size(), 1u);
}

TEST_F(ParallelPretrain, AKilledRankEndsTheJobAndTheRunGoesOn) {
  const auto job = start(2, {"train.checkpoint_every=2"});
  job->wait_for("step 5/");
  kill(ranks_of(*job).at(1), SIGKILL);
  EXPECT_EQ(job->wait(), 128 + SIGKILL) << job->err();
  const std::int64_t step = newest_step();
  EXPECT_GE(step, 4);
  const auto resumed = start(2, {str("train.steps=", step + 1)}, true);
  EXPECT_EQ(resumed->wait(), 0) << resumed->err();
  EXPECT_TRUE(contains(resumed->out(), str("done: step ", step + 1)));
}

/// With train.async_checkpoint, and without.
class Saving : public ParallelPretrain, public ::testing::WithParamInterface<bool> {
 protected:
  const std::string async_ = str("train.async_checkpoint=", GetParam() ? "true" : "false");
};
INSTANTIATE_TEST_SUITE_P(ParallelPretrain, Saving, ::testing::Bool(), [](const auto& p) {
  return p.param ? "InTheBackground" : "BetweenSteps";
});

TEST_P(Saving, KilledInASaveItKeepsTheOlderOnes) {
  int partial = 0;
  std::int64_t saved = 0;
  for (int round = 0; round < 3; ++round) {
    // Large enough that a good part of the time is spent on saving.
    const auto job =
        start(4,
              {"train.checkpoint_every=1", "model.intermediate_size=8192", "train.batch_size=4",
               "train.micro_batch_size=1", "parallel.zero_stage=1", async_},
              round > 0);
    const auto newer = [&] {
      const Words names = checkpoints();
      return !names.empty() && std::stoll(names.back().substr(std::strlen("step-"))) > saved;
    };
    while (job->running() && !(newer() && !checkpoints(".partial").empty()))
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    const auto ranks = ranks_of(*job);
    ASSERT_EQ(ranks.size(), 4u) << job->err();
    kill(ranks.at(round), SIGKILL);
    EXPECT_EQ(job->wait(), 128 + SIGKILL) << job->err();
    partial += int(checkpoints(".partial").size());
    const std::int64_t newest = newest_step();
    // Not one of them is damaged.
    for (const std::string& name : checkpoints())
      EXPECT_NO_THROW(CheckpointReader(run_ + "/checkpoints/" + name).verify()) << name;
    EXPECT_GE(newest, saved);
    saved = newest;
  }
  EXPECT_GT(partial, 0) << "no kill fell into a save: the test tested nothing";
  const auto resumed =
      start(2, {"model.intermediate_size=8192", str("train.steps=", saved + 1)}, true);
  EXPECT_EQ(resumed->wait(), 0) << resumed->err();
  EXPECT_TRUE(checkpoints(".partial").empty());
}

// The ranks look at a part of it each.
TEST_F(ParallelPretrain, ADamagedCheckpointIsSkippedByAll) {
  EXPECT_EQ(start(3, {"train.steps=2", "train.checkpoint_every=1"})->wait(), 0);
  const std::string newest = checkpoint_path(run_, 2).string();
  std::string content = read_file(newest);
  const std::size_t middle = content.size() / 2;  // weights and moments are nearly all of it
  content[middle] = char(content[middle] ^ 4);
  write_file(newest, content);
  const auto job = start(3, {"train.steps=3"}, true);
  EXPECT_EQ(job->wait(), 0) << job->err();
  const std::string told = "checkpoint skipped: " + newest;
  EXPECT_TRUE(contains(job->err(), told));
  EXPECT_EQ(job->err().find(told), job->err().rfind(told)) << job->err();
  EXPECT_TRUE(contains(job->err(), "after step 1")) << job->err();
  EXPECT_EQ(newest_step(), 3);
}

TEST_F(ParallelPretrain, AStuckRankIsNamedWithTheOperation) {
  const auto job = start(2, {"parallel.timeout=2"});
  job->wait_for("step 2/");
  kill(ranks_of(*job).at(1), SIGSTOP);
  EXPECT_EQ(job->wait(), 1) << job->err();
  const Words lines = error_lines(job->err());
  ASSERT_EQ(lines.size(), 1u) << job->err();
  EXPECT_TRUE(contains(lines[0], "made no progress for "));
  EXPECT_TRUE(contains(lines[0], "all_reduce "));
  EXPECT_TRUE(contains(lines[0], "waiting for rank 1; rank 1 does not answer"));
}

TEST_F(ParallelPretrain, MistakesAreToldOnce) {
  const auto fails = [&](int ranks, const Words& settings, const std::string& message) {
    const auto job = start(ranks, settings);
    EXPECT_EQ(job->wait(), 2) << job->err();
    const Words lines = error_lines(job->err());
    ASSERT_EQ(lines.size(), 1u) << job->err();
    EXPECT_TRUE(contains(lines[0], message));
  };
  fails(2, {"train.stesp=3"}, "nearest known is 'steps'");
  fails(4, {"parallel.tensor_parallel=3"},
        "parallel.tensor_parallel = 3 must divide model.num_heads = 4");
  fails(2, {"parallel.tensor_parallel=4"},
        "parallel.tensor_parallel = 4 does not divide the 2 ranks of this run");
  fails(2, {"train.batch_size=1", "train.micro_batch_size=1"},
        "train.batch_size = 1 is too small for 2 data parallel ranks");
  EXPECT_FALSE(fs::exists(run_));
}

// A limit on the size of files stands for the disk. Ranks share memory through files, so these talk
// over TCP.
TEST_P(Saving, AFullDiskEndsAllRanksAndLeavesWhatWasSaved) {
  Words settings = {"train.steps=2", async_, "model.hidden_size=64",
                    "model.intermediate_size=1024"};
  const auto whole = start(2, settings);
  ASSERT_EQ(whole->wait(), 0) << whole->err();
  const Words saved = checkpoints();
  ASSERT_EQ(saved.size(), 1u);
  const std::string file = run_ + "/checkpoints/" + saved[0], bytes = read_file(file);
  Words launcher = mpirun(2);
  std::replace(launcher.begin(), launcher.end(), std::string("vader,self"),
               std::string("tcp,self"));
  launcher.insert(launcher.end(), {"--mca", "btl_tcp_if_include", "lo", "sh", "-c",
                                   "ulimit -f 1000; exec \"$@\"", "sh"});  // 500 KiB of 2.4 MB
  // A save in the background fails within the next step, whenever the disk is full.
  settings[0] = GetParam() ? "train.steps=100000000" : "train.steps=4";
  if (GetParam()) settings.emplace_back("train.checkpoint_every=4");
  Words words = {"pretrain", "--config", config_, "--resume"};
  for (const std::string& s : settings) words.insert(words.end(), {"--set", s});
  Program full(words, RLIM_INFINITY, "", launcher);
  EXPECT_EQ(full.wait(), 1) << full.err();
  const Words lines = error_lines(full.err());
  ASSERT_EQ(lines.size(), 1u) << full.err();
  EXPECT_TRUE(contains(lines[0], "step-00000004.h5.partial: cannot write: File too large"));
  EXPECT_TRUE(checkpoints(".partial").empty());
  EXPECT_EQ(checkpoints(), saved);
  EXPECT_TRUE(read_file(file) == bytes);
  settings[0] = "train.steps=4";
  const auto resumed = start(1, settings, true);
  EXPECT_EQ(resumed->wait(), 0) << resumed->err();
  EXPECT_TRUE(contains(resumed->out(), "done: step 4"));
}

// Tensors go through main memory from rank to rank, as transport "auto" has it for ranks that share
// a device.
class RanksOnDevices : public ParallelPretrain {
 protected:
  /// Losses by step of a run on a device of tests/support/device.h.
  std::vector<double> trained(const std::string& name, int ranks, int steps, Words settings,
                              bool resume = false) const {
    // Heads 64 wide: tensor cores take them in bf16.
    settings.insert(settings.begin(),
                    {"compute.device=" + device_, "model.num_layers=2", "model.hidden_size=128",
                     "model.num_heads=2", "model.intermediate_size=40",
                     "train.output=" + folder_ / name, str("train.steps=", steps)});
    const auto job = start(ranks, settings, resume);
    EXPECT_EQ(job->wait(), 0) << job->err();
    const std::vector<double> found = testing::losses(folder_ / name);
    EXPECT_EQ(int(found.size()), steps);
    return found;
  }
  /// Layouts of 2 and 4 ranks against one rank.
  void expect_as_one(const std::string& transport) const {
    const std::string by = "parallel.transport=" + transport;
    testing::expect_close(
        trained("f32 of 4", 4, 3, {by, "parallel.tensor_parallel=2", "parallel.zero_stage=3"}),
        trained("f32 of 1", 1, 3, {}), 1e-5);
    // The same samples go through the same weights; what differs is the order in which f32
    // gradients are summed, which at times rounds a weight to its neighbour in bf16.
    const Words bf16 = {"compute.dtype=bf16"};
    const std::vector<double> one = trained("bf16 of 1", 1, 4, bf16);
    trained("bf16 of 2", 2, 2, {bf16[0], by, "parallel.zero_stage=1"});
    testing::expect_close(trained("bf16 of 2", 1, 4, bf16, true), one, 0x1p-9);
    // Sums over the ranks of the tensor parallel group are rounded to bf16: as
    // tests/cuda/model_test.cpp derives.
    testing::expect_close(
        trained("bf16 of 4", 4, 4,
                {bf16[0], by, "parallel.zero_stage=1", "parallel.tensor_parallel=2",
                 "parallel.sequence_parallel=true"}),
        one, 3 * 0x1p-9 * std::sqrt(40.0));
  }
  std::string device_ = testing::kDevice;
};

TEST_F(RanksOnDevices, TrainAsOneDoesOnTheCpu) {
  device_ = "cpu";
  expect_as_one("mpi");
}

TEST_F(RanksOnDevices, TrainAsOneDoesOnOneDevice) {
  try {
    make_ops(testing::kDevice);
  } catch (const Error& e) {
    GTEST_SKIP() << e.what();
  }
  expect_as_one("mpi");
}

TEST_F(RanksOnDevices, TrainAsOneDoesWithADeviceEachByNccl) {
  const testing::Devices devices(4);
  if (!devices.why_not.empty()) GTEST_SKIP() << devices.why_not;
  expect_as_one("nccl");
}

// Sums of f32 are added in an order of NCCL's own, the same in every run.
TEST_F(RanksOnDevices, NcclRunsAreReproducible) {
  const testing::Devices devices(4);
  if (!devices.why_not.empty()) GTEST_SKIP() << devices.why_not;
  const Words settings = {"parallel.transport=nccl", "parallel.tensor_parallel=2",
                          "parallel.zero_stage=1"};
  EXPECT_EQ(trained("first", 4, 4, settings), trained("second", 4, 4, settings));
}

// The text of a run's log, by whichever ranks and devices it is drawn.
TEST_F(ParallelPretrain, TheSampleTextDoesNotDependOnTheRanks) {
  TokenFileWriter writer(folder_ / "text.h5", {258, testing::kByteMask, testing::kByteEnd,
                                               testing::byte_tokenizer_json()});
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < 2000; ++i) tokens.push_back('a' + i * i % 18);
  writer.append(tokens);
  writer.end_document();
  writer.finish();
  writer.commit();
  const auto text = [&](int ranks, const Words& settings) {
    Words all = {"data.train=" + folder_ / "text.h5",
                 str("train.output=", folder_ / "of ", ranks, settings.empty() ? "" : settings[0]),
                 "train.steps=2",
                 "train.sample_every=1",
                 "train.sample_prompt=abc",
                 "train.sample_length=10",
                 "model.num_layers=2",
                 "model.hidden_size=128",
                 "model.num_heads=2",
                 "model.intermediate_size=40"};
    all.insert(all.end(), settings.begin(), settings.end());
    const auto job = start(ranks, all);
    EXPECT_EQ(job->wait(), 0) << job->err();
    const std::string log = job->err();
    std::string found;
    for (std::size_t at = 0; (at = log.find("sample after step ", at)) != std::string::npos; ++at)
      found += log.substr(at, log.find('\n', log.find('\n', at) + 1) - at) + "\n";
    return found;
  };
  const std::string alone = text(1, {});
  EXPECT_TRUE(contains(alone, "sample after step 1:\n  abc"));
  EXPECT_TRUE(contains(alone, "sample after step 2:\n  abc"));
  EXPECT_EQ(text(2, {"parallel.tensor_parallel=2"}), alone);
  EXPECT_EQ(text(4, {"parallel.tensor_parallel=2", "parallel.zero_stage=1"}), alone);
  const std::string device = str("compute.device=", testing::kDevice);
  try {
    make_ops(testing::kDevice);
  } catch (const Error& e) {
    GTEST_SKIP() << e.what();
  }
  EXPECT_EQ(text(2, {device, "parallel.tensor_parallel=2", "parallel.sequence_parallel=true"}),
            alone);
}

TEST_F(ParallelPretrain, OtherCommandsRunOnOneRank) {
  Program job({"inspect", config_}, RLIM_INFINITY, "", mpirun(2));
  EXPECT_EQ(job.wait(), 2) << job.err();
  EXPECT_TRUE(contains(job.err(), "lacuna inspect runs on one rank, and 2 were started"));
}

TEST_F(ParallelPretrain, ConfigurationsThatDifferAreRefused) {
  Words launcher = mpirun(2);
  launcher.insert(launcher.end(),
                  {"sh", "-c", "exec \"$@\" --set train.seed=$OMPI_COMM_WORLD_RANK", "sh"});
  Program job({"pretrain", "--config", config_}, RLIM_INFINITY, "", launcher);
  EXPECT_EQ(job.wait(), 2) << job.err();
  EXPECT_TRUE(
      contains(job.err(),
               "the configuration must be the same on every rank, but rank 0 and rank 1 have "
               "'seed = 0' and 'seed = 1'"));
  EXPECT_FALSE(fs::exists(run_));
}

// In MPI_Init, in the groups that are made after it, or in the first collective: the moment differs
// from run to run.
TEST_F(ParallelPretrain, ARankThatIsStoppedWhileTheJobStartsEndsIt) {
  for (const int milliseconds : {0, 60, 150}) {
    fs::remove_all(run_);
    const auto job = start(2, {"parallel.timeout=3"});
    while (job->running() && ranks_of(*job).size() < 2)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    const auto ranks = ranks_of(*job);
    ASSERT_EQ(ranks.size(), 2u) << job->err();
    kill(ranks.at(1), SIGSTOP);
    EXPECT_EQ(job->wait(), 1) << job->err();
    const Words said = error_lines(job->err());
    ASSERT_EQ(said.size(), 1u) << job->err();
    EXPECT_TRUE(contains(said[0], "did not come together in 3") ||
                contains(said[0], "made no progress for 3"))
        << said[0];
  }
}

}  // namespace
}  // namespace lacuna
