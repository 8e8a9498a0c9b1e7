// What a first try gets wrong: names and arguments of the command line.
#include "core/version.h"
#include "tests/app/program.h"
#include "tests/support/paths.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::fails;
using testing::Program;

TEST(Usage, MisspeltNamesAreToldWithTheNearest) {
  EXPECT_TRUE(fails({"sampel", "--checkpoint", "x"}, 2,
                    "there is no subcommand 'sampel'; the nearest is 'sample' (lacuna --help)"));
  EXPECT_TRUE(fails({"tokenizer", "trian"}, 2,
                    "there is no subcommand 'trian'; the nearest is 'train' (lacuna tokenizer "
                    "--help)"));
  EXPECT_TRUE(
      fails({"sample", "--chekpoint", "x"}, 2,
            "there is no option '--chekpoint'; the nearest is '--checkpoint' (lacuna sample "
            "--help)"));
  EXPECT_TRUE(fails({"bench", "--shap=3"}, 2,
                    "there is no option '--shap'; the nearest is "
                    "'--shape'"));
  EXPECT_TRUE(fails({"frobnicate"}, 2, "there is no subcommand 'frobnicate' (lacuna --help)"));
  EXPECT_TRUE(fails({"sample", "a", "b"}, 2, "'b' is one argument too many"));
}

TEST(Usage, EverythingThatIsMissingIsTold) {
  EXPECT_TRUE(fails({}, 2, "a subcommand is required: tokenizer, plan, "));
  EXPECT_TRUE(fails({"tokenizer"}, 2,
                    "a subcommand is required: train, encode or decode (lacuna tokenizer --help)"));
  EXPECT_TRUE(
      fails({"prepare"}, 2, "--tokenizer and --input are required (lacuna prepare --help)"));
  EXPECT_TRUE(fails({"sample"}, 2, "--checkpoint is required (lacuna sample --help)"));
  EXPECT_TRUE(fails({"evaluate"}, 2,
                    "a checkpoint and at least one task file (TOML) are required: lacuna evaluate "
                    "CHECKPOINT TASK.toml"));
  EXPECT_TRUE(fails({"evaluate", "runs/x"}, 2, "lacuna evaluate runs/x TASK.toml"));
  EXPECT_TRUE(fails({"evaluate", "t.toml"}, 2, "lacuna evaluate CHECKPOINT t.toml"));
  EXPECT_TRUE(fails({"evaluate", "runs/x", "none.toml"}, 2, "none.toml"));
  EXPECT_TRUE(fails({"pretrain", "none.toml"}, 2, "none.toml: "));
  EXPECT_TRUE(fails({"export", "x.h5"}, 2, "--format and --output are required"));
}

TEST(Usage, TheVersionIsTheBuilds) {
  Program program({"--version"});
  EXPECT_EQ(program.wait(), 0);
  EXPECT_EQ(program.out(), std::string(program_version()) + "\n");
  EXPECT_TRUE(contains(read_file(testing::source_path("CMakeLists.txt")),
                       "project(lacuna VERSION " + std::string(program_version()).substr(7) + " "));
}

}  // namespace
}  // namespace lacuna
