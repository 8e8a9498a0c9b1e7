#include "formats/damage.h"
#include "tests/checkpoint/support.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::SampleCheckpoint;

/// Overwrites the middle of a file with zeros.
void damage(const fs::path& path) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(std::streamoff(fs::file_size(path) / 2));
  file << std::string(2000, '\0');
}

struct RunFolder {
  Folder folder;
  fs::path dir = folder / "run";
  fs::path save(std::int64_t step) const {
    const fs::path path = checkpoint_path(dir, step);
    SampleCheckpoint(step).save(path);
    return path;
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(dir / "checkpoints"))
      names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
};

TEST(CheckpointFolder, names) {
  EXPECT_EQ(checkpoint_path("run", 1000), "run/checkpoints/step-00001000.h5");
  EXPECT_EQ(checkpoint_path("run", 1234567890), "run/checkpoints/step-1234567890.h5");
}

TEST(CheckpointFolder, a_run_without_checkpoints) {
  const RunFolder run;
  EXPECT_FALSE(newest_valid_checkpoint(run.dir));  // without a folder
  prune_checkpoints(run.dir, 1);
  fs::create_directories(run.dir / "checkpoints");
  EXPECT_FALSE(newest_valid_checkpoint(run.dir));
}

TEST(CheckpointFolder, the_highest_step_by_number_not_by_name) {
  const RunFolder run;
  run.save(99'999'999);
  const fs::path newest = run.save(100'000'000);  // comes first in the alphabet
  run.save(3);
  EXPECT_EQ(newest_valid_checkpoint(run.dir), newest);
}

TEST(CheckpointFolder, damaged_ones_are_skipped_and_told_of) {
  const RunFolder run;
  const fs::path good = run.save(10);
  damage(run.save(20));
  std::ofstream(checkpoint_path(run.dir, 30)) << "not a checkpoint";
  fs::resize_file(run.save(40), 3000);
  std::ofstream(checkpoint_path(run.dir, 50));  // empty
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(newest_valid_checkpoint(run.dir), good);
  const std::string log = ::testing::internal::GetCapturedStderr();
  for (const std::int64_t step : {20, 30, 40, 50})
    EXPECT_TRUE(contains(log, "checkpoint skipped: " + checkpoint_path(run.dir, step).string()));
  EXPECT_FALSE(contains(log, good.string()));
}

TEST(CheckpointFolder, what_may_be_good_is_not_passed_over) {
  const RunFolder run;
  run.save(10);
  const fs::path newer = run.save(20);
  {
    h5::FileWriter file(newer);
    file.set_attribute("format", "lacuna-checkpoint");
    file.set_attribute("version", 2);
    file.close();
  }
  const std::string of_newer = error_of([&] { newest_valid_checkpoint(run.dir); });
  EXPECT_TRUE(contains(of_newer, newer.string() + ": version 2 is newer than this program's 1"));
  EXPECT_TRUE(contains(of_newer, "move this one out of the folder"));
  {
    h5::FileWriter file(newer);
    file.set_attribute("format", "lacuna-tokens");
    file.close();
  }
  EXPECT_TRUE(contains(error_of([&] { newest_valid_checkpoint(run.dir); }), "is not a checkpoint"));
  fs::remove(newer);
  run.save(20);
  fs::permissions(newer, fs::perms::none);
  if (!std::ifstream(newer)) {  // root reads everything
    EXPECT_TRUE(contains(error_of([&] { newest_valid_checkpoint(run.dir); }),
                         newer.string() + ": cannot read: Permission denied"));
  }
}

TEST(CheckpointFolder, other_files_are_not_checkpoints) {
  const RunFolder run;
  const fs::path good = run.save(10);
  for (const char* name : {"step-.h5", "step-12a.h5", "step-00000099.h5.partial", "step--5.h5",
                           "step-99999999999999999999.h5", "xstep-00000099.h5", "step-00000099"})
    fs::copy_file(good, run.dir / "checkpoints" / name);
  fs::create_directories(checkpoint_path(run.dir, 60));
  EXPECT_EQ(newest_valid_checkpoint(run.dir), good);
}

TEST(CheckpointFolder, pruning_keeps_the_newest) {
  const RunFolder run;
  for (const std::int64_t step : {1, 2, 3, 10}) run.save(step);
  const fs::path interrupted = run.dir / "checkpoints" / "step-00000011.h5.partial";
  const fs::path other = run.dir / "checkpoints" / "notes.partial";
  std::ofstream(interrupted) << "half";
  std::ofstream(other) << "mine";
  prune_checkpoints(run.dir, 0);
  EXPECT_EQ(run.files(),
            (std::vector<std::string>{"notes.partial", "step-00000001.h5", "step-00000002.h5",
                                      "step-00000003.h5", "step-00000010.h5"}));
  prune_checkpoints(run.dir, 2);
  EXPECT_EQ(run.files(),
            (std::vector<std::string>{"notes.partial", "step-00000003.h5", "step-00000010.h5"}));
  prune_checkpoints(run.dir, 5);
  EXPECT_EQ(run.files().size(), 3u);
}

TEST(ResolveCheckpoint, a_file_a_run_or_its_checkpoints) {
  const RunFolder run;
  run.save(1);
  const fs::path newest = run.save(2);
  EXPECT_EQ(resolve_checkpoint(newest.string()), newest);
  for (const fs::path& folder :
       {run.dir, run.dir / "", run.dir / "checkpoints", run.dir / "checkpoints" / ""})
    EXPECT_TRUE(fs::equivalent(resolve_checkpoint(folder.string()), newest)) << folder;
  const fs::path here = fs::current_path();
  fs::current_path(run.dir / "checkpoints");
  const std::string from_within = error_of([&] {
    EXPECT_TRUE(fs::equivalent(resolve_checkpoint("."), newest));
    EXPECT_TRUE(fs::equivalent(resolve_checkpoint(".."), newest));
  });
  fs::current_path(here);
  EXPECT_EQ(from_within, "");
}

TEST(ResolveCheckpoint, what_holds_none) {
  const RunFolder run;
  EXPECT_EQ(error_of([&] { resolve_checkpoint(""); }), "no checkpoint was named");
  EXPECT_EQ(error_of([&] { resolve_checkpoint(run.dir / "x"); }),
            (run.dir / "x").string() + ": no such checkpoint file or run folder");
  EXPECT_EQ(error_of([&] { resolve_checkpoint(run.folder / "."); }),
            run.folder / "." + ": holds no valid checkpoint (checkpoints/step-*.h5)");
}

TEST(ResolveCheckpoint, OtherFormats) {
  const Folder folder;
  folder.write("config.json", "{}");
  EXPECT_EQ(resolve_checkpoint(folder / "."), folder / ".");  // a Hugging Face folder is one itself
  EXPECT_TRUE(contains(error_of([&] { open_model(folder / "."); }), "config.json: "));
  const std::string gguf = folder.write("m.bin", "GGUF\3");
  EXPECT_EQ(resolve_checkpoint(gguf), gguf);
  EXPECT_TRUE(contains(error_of([&] { open_model(gguf); }), "m.bin: its version"));
  EXPECT_TRUE(contains(error_of([&] { resolve_checkpoint(folder.write("a.safetensors", "x")); }),
                       "a.safetensors: holds weights alone"));
}

}  // namespace
}  // namespace lacuna
