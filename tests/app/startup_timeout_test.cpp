#include "app/startup_timeout.h"

#include <vector>

#include "config/config.h"
#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

double timeout_of(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "lacuna");
  return startup_timeout(int(arguments.size()), arguments.data());
}

TEST(StartupTimeout, IsTheRunsParallelTimeout) {
  const Folder folder;
  const std::string config = folder.write("c.toml", "[parallel]\ntimeout = 7.5\n");
  EXPECT_EQ(timeout_of({"pretrain", "--config", config.c_str()}), 7.5);
  EXPECT_EQ(timeout_of({"pretrain", config.c_str(), "--resume"}), 7.5);
  EXPECT_EQ(timeout_of({"sft", "--init", "x.h5", "--config", config.c_str(), "--resume"}), 7.5);
  EXPECT_EQ(timeout_of({"pretrain", "--config", config.c_str(), "--set", "train.steps=5", "--set",
                        "parallel.timeout=3"}),
            3);
  EXPECT_EQ(timeout_of({"pretrain", "--config", config.c_str(), "--set", "parallel.timeout=0"}), 0);
}

TEST(StartupTimeout, IsTheDefaultWhereThereIsNone) {
  const Folder folder;
  const double otherwise = ParallelConfig{}.timeout;
  EXPECT_EQ(timeout_of({}), otherwise);
  EXPECT_EQ(timeout_of({"--help"}), otherwise);
  EXPECT_EQ(timeout_of({"sample", "--checkpoint", "x"}), otherwise);
  EXPECT_EQ(timeout_of({"pretrain", "--config", (folder / "none").c_str()}), otherwise);
  const std::string config = folder.write("c.toml", "[parallel]\ntimeout = 7.5\n");
  for (const char* set : {"parallel.timeout=-1", "parallel.timeout=nan", "parallel.timeout=x", "x"})
    EXPECT_EQ(timeout_of({"pretrain", "--config", config.c_str(), "--set", set}), otherwise) << set;
}

}  // namespace
}  // namespace lacuna::testing
