#pragma once
// A tiny run for jobs of several ranks of the built program.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/input_file.h"
#include "data/token_file.h"
#include "tests/app/program.h"
#include "tests/support/support.h"

namespace lacuna::testing {

/// It would take hours, but for what a test changes.
class RankedRun : public ::testing::Test {
 protected:
  void SetUp() override {
    TokenFileWriter writer(folder_ / "data.h5", {20, 19, 18, ""});
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < 2000; ++i) tokens.push_back(i * i % 18);
    writer.append(tokens);
    writer.end_document();
    writer.finish();
    writer.commit();
    config_ = folder_.write("c.toml", R"([model]
num_layers = 1
hidden_size = 16
num_heads = 4
intermediate_size = 16
max_seq_length = 16
[data]
train = ")" + folder_ / "data.h5" + R"("
sequence_length = 16
[train]
output = ")" + run_ + R"("
steps = 100000000
batch_size = 8
micro_batch_size = 2
log_every = 1
checkpoint_every = 0
[optimizer]
warmup_steps = 0
decay_steps = 0
[parallel]
timeout = 60
[compute]
threads = 1
)");
  }
  /// The processes of a job, by rank: those below the launcher, or below what started it.
  static std::map<int, pid_t> ranks_of(const Program& job) {
    std::map<int, pid_t> ranks;
    add_ranks_below(job.process(), ranks);
    return ranks;
  }

  Folder folder_;
  const std::string run_ = folder_ / "run";
  std::string config_;

 private:
  static void add_ranks_below(pid_t process, std::map<int, pid_t>& ranks) {
    for (const pid_t child : children_of(process)) {
      std::string environment;
      try {
        environment = read_file(str("/proc/", child, "/environ"));
      } catch (const Error&) {
        continue;  // it has ended since
      }
      const std::string name = "OMPI_COMM_WORLD_RANK=";
      if (const auto at = environment.find(name); at != std::string::npos)
        ranks[std::atoi(environment.c_str() + at + name.size())] = child;
      else
        add_ranks_below(child, ranks);
    }
  }
  static std::vector<pid_t> children_of(pid_t process) {
    std::vector<pid_t> all;
    std::error_code gone;
    for (const auto& task :
         std::filesystem::directory_iterator(str("/proc/", process, "/task"), gone)) {
      try {
        std::istringstream children(read_file(task.path() / "children"));
        for (pid_t child = 0; children >> child;) all.push_back(child);
      } catch (const Error&) {  // it has ended since
      }
    }
    return all;
  }
};

}  // namespace lacuna::testing
