// Preference tuning as a user runs it: prepare, config check, dpo, on several layouts of ranks.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "core/atomic_file.h"
#include "core/text.h"
#include "tests/app/mpirun.h"
#include "tests/app/program.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::Folder;
using testing::mpirun;
using testing::Program;
using Words = std::vector<std::string>;

class ParallelDpo : public ::testing::Test {
 protected:
  ParallelDpo() {
    std::string pairs, dialogues;
    for (int i = 0; i < 60; ++i) {
      const std::string prompt = str(R"({"prompt": "say )", i % 7, "\", ");
      pairs += prompt + R"("chosen": "short", "rejected": "a long answer"})" + "\n";
      dialogues += prompt + R"("response": ")" + (i % 2 ? "short" : "a long answer") + "\"}\n";
    }
    const std::string chat = folder_.write("chat.jsonl", dialogues);
    const std::string input = folder_.write("pairs.jsonl", pairs);
    run({"tokenizer", "train", "--input", chat, "--vocab-size", "280", "--output",
         folder_ / "t.json"});
    run({"prepare", "--tokenizer", folder_ / "t.json", "--format", "chat", "--input", chat,
         "--output", folder_ / "sft.h5"});
    run({"prepare", "--tokenizer", folder_ / "t.json", "--format", "preference", "--input", input,
         "--output", folder_ / "pairs.h5", "--validation", folder_ / "validation.h5",
         "--validation-fraction", "0.2"});
    const std::string base =
        folder_.write("base.toml",
                      "[model]\nnum_layers = 2\nhidden_size = 32\nnum_heads = 2\n"
                      "intermediate_size = 48\nmax_seq_length = 64\n[data]\ntrain = \"" +
                          folder_ / "sft.h5" + "\"\nsequence_length = 64\n[train]\noutput = \"" +
                          folder_ / "base" +
                          "\"\nsteps = 5\nbatch_size = 4\nmicro_batch_size = 4\neval_every = 0\n");
    run({"pretrain", base});
    config_ = folder_.write("dpo.toml", "[data]\ntrain = \"" + folder_ / "pairs.h5" +
                                            "\"\nvalidation = \"" + folder_ / "validation.h5" +
                                            "\"\nsequence_length = 64\n[train]\nsteps = 2\n"
                                            "batch_size = 4\nmicro_batch_size = 2\n"
                                            "eval_every = 1\n[dpo]\nmask_samples = 3\n");
  }
  std::string run(const Words& arguments) {
    Program program(arguments);
    EXPECT_EQ(program.wait(), 0) << program.err();
    return program.out();
  }
  Words arguments(const std::string& name, const Words& settings = {}) {
    Words all = {"dpo",
                 "--config",
                 config_,
                 "--init",
                 folder_ / "base",
                 "--set",
                 "train.output=" + (folder_ / name)};
    for (const std::string& s : settings) {
      all.emplace_back("--set");
      all.push_back(s);
    }
    return all;
  }
  /// validation_dpo_loss of each validation.
  std::vector<double> losses(const std::string& name) {
    std::vector<double> all;
    std::istringstream lines(read_file((folder_ / name) + "/metrics.jsonl"));
    for (std::string line; std::getline(lines, line);)
      if (const auto json = nlohmann::json::parse(line); json.contains("validation_dpo_loss"))
        all.push_back(json["validation_dpo_loss"]);
    return all;
  }

  Folder folder_;
  std::string config_;
};

TEST_F(ParallelDpo, LayoutsAgree) {
  run(arguments("one"));
  const std::vector<double> one = losses("one");
  ASSERT_EQ(one.size(), 2u);
  EXPECT_LT(one[1], one[0]);
  run(arguments("emulated", {"compute.device=cuda-emulated", "compute.threads=1"}));
  for (const char* setting : {"parallel.zero_stage=3", "parallel.tensor_parallel=2"}) {
    Program job(arguments(setting, {setting, "compute.threads=1"}), RLIM_INFINITY, "", mpirun(2));
    EXPECT_EQ(job.wait(), 0) << job.err();
  }
  for (const char* other : {"emulated", "parallel.zero_stage=3", "parallel.tensor_parallel=2"}) {
    const std::vector<double> found = losses(other);
    ASSERT_EQ(found.size(), 2u) << other;
    // f32 sums in another order, through two updates.
    for (std::size_t i = 0; i < 2; ++i) EXPECT_NEAR(found[i], one[i], 1e-3) << other;
  }
}

TEST_F(ParallelDpo, TheDataSayWhatTheConfigurationIsFor) {
  const std::string found =
      run({"config", "check", config_, "--init", folder_ / "base", "--set",
           "train.output=" + (folder_ / "new"), "--set", "dpo.reference=" + (folder_ / "base")});
  EXPECT_TRUE(contains(found, "task: dpo"));
  EXPECT_TRUE(contains(found, " pairs per epoch"));
  EXPECT_TRUE(contains(found, "dpo.reference"));
}

TEST_F(ParallelDpo, ATraceIsRefused) {
  Words words = arguments("traced");
  words.insert(words.end(), {"--trace", folder_ / "t.h5"});
  Program program(words);
  EXPECT_EQ(program.wait(), 2);
  EXPECT_TRUE(contains(program.err(), "--trace is for pretrain and sft"));
}

}  // namespace
}  // namespace lacuna
