#include "training/run_directory.h"

#include <filesystem>

#include "core/atomic_file.h"
#include "tests/support/support.h"

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

Alone alone;

TEST(RunDirectory, WritesNothingUntilOpened) {
  const Folder folder;
  RunDirectory run(folder / "a/run", false, alone);
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
        error_of<UsageError>([&] { RunDirectory run(folder / "run", false, alone); });
    EXPECT_TRUE(contains(error, "holds a run already: add --resume to go on with it, or choose"));
    EXPECT_TRUE(contains(error, folder / "run"));
    EXPECT_EQ(read_file(file), "x");
  }
}

TEST(RunDirectory, OtherFilesDoNotMatter) {
  const Folder folder;
  folder.write("notes.txt", "x");
  RunDirectory run(folder / "", false, alone);
  run.open(config_in(folder / ""));
}

TEST(RunDirectory, ResumingWhereNothingIsBegins) {
  const Folder folder;
  EXPECT_FALSE(RunDirectory(folder / "run", true, alone).checkpoint());
  folder.write("config.toml", "");
  EXPECT_FALSE(RunDirectory(folder / "", true, alone).checkpoint());
}

TEST(RunDirectory, DamagedCheckpointsAreNotBegunOver) {
  const Folder folder;
  std::filesystem::create_directories(folder / "run/checkpoints");
  folder.write("run/checkpoints/step-00000005.h5", "damaged");
  EXPECT_TRUE(contains(error_of([&] { RunDirectory run(folder / "run", true, alone); }),
                       "none of the checkpoints is valid"));
}

TEST(RunDirectory, OneProcessAtATime) {
  const Folder folder;
  RunDirectory first(folder / "run", true, alone), second(folder / "run", true, alone);
  first.open(config_in(folder / "run"));
  EXPECT_TRUE(contains(error_of([&] { second.open(config_in(folder / "run")); }),
                       "another process is training there"));
}

TEST(RunDirectory, AFileIsNoFolder) {
  const Folder folder;
  folder.write("run", "x");
  EXPECT_TRUE(
      contains(error_of<UsageError>([&] { RunDirectory run(folder / "run", false, alone); }),
               "is a file, not a folder"));
  RunDirectory below(folder / "run/deeper", false, alone);
  EXPECT_TRUE(contains(error_of([&] { below.open(config_in(folder / "run/deeper")); }),
                       "cannot create the folder"));
}

}  // namespace
}  // namespace lacuna
