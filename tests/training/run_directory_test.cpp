#include "training/run_directory.h"

#include <filesystem>
#include <fstream>

#include "checkpoint/checkpoint.h"
#include "core/atomic_file.h"
#include "formats/safetensors.h"
#include "tests/support/support.h"
#include "training/updater.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;

Config config_in(const std::string& output) {
  Config config;
  config.train.output = output;
  return config;
}

SingleProcess one_process;

namespace fs = std::filesystem;

fs::path save_step(const fs::path& run, std::int64_t step) {
  CheckpointInfo info;
  info.step = step;
  const fs::path path = checkpoint_path(run, step);
  save_checkpoint(path, info, {});
  return path;
}

TEST(RunDirectory, WritesNothingUntilOpened) {
  const Folder folder;
  RunDirectory run(folder / "a/run", false, one_process);
  EXPECT_FALSE(run.checkpoint());
  EXPECT_TRUE(folder.files().empty());
  run.open(config_in(folder / "a/run"));
  EXPECT_EQ(parse_config(read_file(folder / "a/run/config.toml"), "c"),
            config_in(folder / "a/run"));
}

TEST(RunDirectory, ARunIsNotOverwritten) {
  for (const char* trace_of_one :
       {"run/config.toml", "run/metrics.jsonl", "run/checkpoints/step-00000005.h5"}) {
    const Folder folder;
    const std::string file = folder / trace_of_one;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path());
    folder.write(trace_of_one, "x");
    const std::string error =
        error_of<UsageError>([&] { RunDirectory run(folder / "run", false, one_process); });
    EXPECT_TRUE(contains(error, "holds a run already: add --resume to go on with it, or choose"));
    EXPECT_TRUE(contains(error, folder / "run"));
    EXPECT_EQ(read_file(file), "x");
  }
}

TEST(RunDirectory, OtherFilesDoNotMatter) {
  const Folder folder;
  folder.write("notes.txt", "x");
  RunDirectory run(folder / "", false, one_process);
  run.open(config_in(folder / ""));
}

TEST(RunDirectory, ResumingWhereNothingIsBegins) {
  const Folder folder;
  EXPECT_FALSE(RunDirectory(folder / "run", true, one_process).checkpoint());
  folder.write("config.toml", "");
  EXPECT_FALSE(RunDirectory(folder / "", true, one_process).checkpoint());
}

TEST(RunDirectory, DamagedCheckpointsAreNotBegunOver) {
  const Folder folder;
  std::filesystem::create_directories(folder / "run/checkpoints");
  folder.write("run/checkpoints/step-00000005.h5", "damaged");
  EXPECT_TRUE(contains(error_of([&] { RunDirectory run(folder / "run", true, one_process); }),
                       "none of the checkpoints is valid"));
}

TEST(RunDirectory, OneProcessAtATime) {
  const Folder folder;
  RunDirectory first(folder / "run", true, one_process), second(folder / "run", true, one_process);
  first.open(config_in(folder / "run"));
  EXPECT_TRUE(contains(error_of([&] { second.open(config_in(folder / "run")); }),
                       "another process is training there"));
}

TEST(RunDirectory, AFileIsNoFolder) {
  const Folder folder;
  folder.write("run", "x");
  EXPECT_TRUE(
      contains(error_of<UsageError>([&] { RunDirectory run(folder / "run", false, one_process); }),
               "is a file, not a folder"));
  RunDirectory below(folder / "run/deeper", false, one_process);
  EXPECT_TRUE(contains(error_of([&] { below.open(config_in(folder / "run/deeper")); }),
                       "cannot create the folder"));
}

TEST(RunDirectory, AFolderIsLockedBeforeACheckpointIsChosen) {
  const Folder folder;
  const fs::path run = folder / "run";
  save_step(run, 5);
  RunDirectory first(run, true, one_process);
  EXPECT_TRUE(contains(error_of([&] { RunDirectory second(run, true, one_process); }),
                       "another process is training there"));
}

TEST(RunDirectory, WhatAnotherSavedMeanwhileIsNotPassedOver) {
  const Folder folder;
  const fs::path run = folder / "run";
  RunDirectory waiting(run, true, one_process);  // there is no folder to lock
  const fs::path saved = save_step(run, 9);
  EXPECT_TRUE(contains(error_of([&] { waiting.open(config_in(run)); }),
                       saved.string() + ": was saved by another process"));
  EXPECT_TRUE(fs::exists(saved));

  RunDirectory beginning(folder / "new", false, one_process);
  save_step(folder / "new", 1);
  EXPECT_TRUE(contains(error_of<UsageError>([&] { beginning.open(config_in(folder / "new")); }),
                       "holds a run already"));
}

TEST(RunDirectory, OnlyDamagedCheckpointsAreRenamed) {
  const Folder folder;
  const fs::path run = folder / "run", checkpoints = run / "checkpoints";
  const fs::path good = save_step(run, 4), damaged = save_step(run, 8);
  const char* own[] = {"step-00000004-best.h5", "step-00000004 (1).h5", "best.h5",
                       "step-4_backup.h5", "my-own-copy-of-the-best.h5"};
  for (const char* name : own) fs::copy_file(good, checkpoints / name);
  fs::resize_file(damaged, 100);
  RunDirectory directory(run, true, one_process);
  EXPECT_EQ(directory.checkpoint(), good);
  EXPECT_TRUE(fs::exists(damaged));  // nothing is written before it is opened
  directory.open(config_in(run));
  for (const char* name : own) EXPECT_TRUE(fs::exists(checkpoints / name)) << name;
  EXPECT_TRUE(fs::exists(damaged.string() + ".damaged"));
  EXPECT_FALSE(fs::exists(damaged));
}

}  // namespace
}  // namespace lacuna
