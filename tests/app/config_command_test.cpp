// lacuna config and lacuna config check, as a user runs them.
#include <filesystem>

#include "checkpoint/checkpoint.h"
#include "config/config.h"
#include "config/presets.h"
#include "core/machine.h"
#include "data/token_file.h"
#include "tests/app/program.h"
#include "tests/support/paths.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::contains;
using testing::fails;
using testing::Folder;
using testing::output_of;
using testing::Program;

using Arguments = std::vector<std::string>;

TEST(ConfigCommand, PrintsEveryKeyOrAPreset) {
  EXPECT_EQ(output_of({"config"}), config_help());
  for (const Preset& preset : presets())
    EXPECT_EQ(output_of({"config", "--preset", std::string(preset.name)}), preset.toml);
  EXPECT_TRUE(fails({"config", "--preset", "huge"}, 2, "--preset"));
}

TEST(ConfigCommand, WritesAFileThatIsNotThere) {
  const Folder folder;
  const std::string path = folder / "c.toml";
  EXPECT_EQ(output_of({"config", "--preset", "lora", "--output", path}), "");
  EXPECT_EQ(read_file(path), read_file(testing::source_path("configs/lora.toml")));
  EXPECT_TRUE(fails({"config", "--output", path}, 2, path + ": is there already"));
  EXPECT_EQ(read_file(path), read_file(testing::source_path("configs/lora.toml")));
}

class ConfigCheck : public ::testing::Test {
 protected:
  void SetUp() override {
    write_tokens("train.h5", 2000, 10, false);
    write_tokens("validation.h5", 200, 10, false);
    write_tokens("examples.h5", 200, 10, true);
    config_ = folder_.write("c.toml", R"([model]
num_layers = 1
hidden_size = 8
num_heads = 2
intermediate_size = 8
max_seq_length = 16
[data]
train = ")" + folder_ / "train.h5" + R"("
validation = ")" + folder_ / "validation.h5" +
                                          R"("
sequence_length = 16
[train]
output = ")" + folder_ / "runs/new" + R"("
steps = 25
batch_size = 10
micro_batch_size = 5
)");
  }
  void write_tokens(const std::string& name, std::int64_t n, std::int64_t vocabulary,
                    bool responses) const {
    TokenFileWriter writer(folder_ / name,
                           {vocabulary, vocabulary - 1, vocabulary - 2, "", responses});
    for (std::int64_t i = 0; i < n / 10; ++i) {
      writer.append(std::vector<std::int32_t>(4, 1), false);
      writer.append(std::vector<std::int32_t>(6, 2), true);
      writer.end_document();
    }
    writer.finish();
    writer.commit();
  }
  Arguments check(const Arguments& settings = {}) const {
    Arguments all = {"config", "check", config_};
    for (const std::string& s : settings) {
      if (!s.starts_with("--")) all.emplace_back("--set");
      all.push_back(s);
    }
    return all;
  }
  /// The lines of a check that ends with this exit code.
  std::string report(const Arguments& settings, int code) const {
    Program program(check(settings));
    EXPECT_EQ(program.wait(), code) << program.out() << program.err();
    return program.out();
  }

  Folder folder_;
  std::string config_;
};

TEST_F(ConfigCheck, WhatIsRight) {
  const std::string text = report({}, 0);
  // 200 documents of 10 tokens: 125 windows of 16.
  for (const char* part : {"ok       configuration", "task: pretrain",
                           "train.h5: 2,000 tokens, 10 ids; 125 sequences "
                           "per epoch; 25 steps are 2 epochs",
                           "validation.h5: 12 sequences, 12 of them used", "runs/new: ",
                           " free; a checkpoint is about", "ok       memory", "per rank on 1 rank"})
    EXPECT_TRUE(contains(text, part)) << text;
  EXPECT_FALSE(contains(text, "error"));
  EXPECT_FALSE(fs::exists(folder_ / "runs"));  // nothing was written
}

TEST_F(ConfigCheck, EpochsBecomeSteps) {
  EXPECT_TRUE(contains(report({"train.epochs=3"}, 0), "38 steps are 3.04 epochs"));
}

TEST_F(ConfigCheck, AnInvalidConfigurationIsOneError) {
  EXPECT_TRUE(fails(check({"model.width=3"}), 2, "model.width is now model.hidden_size"));
  EXPECT_TRUE(fails(check({"model.num_heads=3"}), 2, "must be a multiple of model.num_heads = 3"));
  EXPECT_TRUE(fails({"config", "check", folder_ / "none.toml"}, 2, "none.toml"));
  EXPECT_TRUE(fails({"config", "check"}, 2, "config"));
}

TEST_F(ConfigCheck, EveryMistakeHasALine) {
  const std::string missing = folder_ / "missing.h5";
  folder_.write("file", "");
  const std::string text = report({"data.train=" + missing, "data.validation=" + config_,
                                   "train.output=" + folder_ / "file/run", "train.init=" + missing},
                                  1);
  EXPECT_TRUE(contains(text, "error    data.train       " + missing)) << text;
  EXPECT_TRUE(contains(text, "error    data.validation  " + config_)) << text;
  EXPECT_TRUE(contains(text, "error    train.init       " + missing)) << text;
  EXPECT_TRUE(contains(text, "error    train.output     ")) << text;
  EXPECT_TRUE(contains(text, "warning  memory           not estimated: the vocabulary")) << text;
  EXPECT_TRUE(fails(check({"data.train=" + missing, "data.validation=" + config_}), 1,
                    config_ + ": 2 errors"));
}

TEST_F(ConfigCheck, TheVocabularyFitsTheData) {
  EXPECT_TRUE(contains(report({"model.vocab_size=9"}, 2),
                       "error    data.train       model.vocab_size = 9, but "));
  write_tokens("more.h5", 100, 20, false);
  EXPECT_TRUE(contains(report({"data.validation=" + folder_ / "more.h5"}, 2),
                       "error    data.validation  data.validation = "));
  EXPECT_TRUE(contains(report({"train.sample_every=5", "train.sample_length=8"}, 2),
                       "train.sample_every needs a tokenizer"));
}

TEST_F(ConfigCheck, ARunThatIsThereIsResumed) {
  fs::create_directories(folder_ / "runs/new");
  folder_.write("runs/new/config.toml", "");
  EXPECT_TRUE(contains(report({}, 2), "holds a run already"));
  report({"--resume"}, 0);
}

TEST_F(ConfigCheck, MemoryAndRanks) {
  Arguments arguments = check();
  arguments.insert(arguments.end(), {"--memory", "10KiB"});
  EXPECT_TRUE(fails(arguments, 1, "1 error"));
  Program small(arguments);
  EXPECT_EQ(small.wait(), 1);
  EXPECT_TRUE(contains(small.out(), "error    memory           does not fit: ")) << small.out();
  arguments = check();
  arguments.insert(arguments.end(), {"--ranks", "20"});
  Program ranks(arguments);
  EXPECT_EQ(ranks.wait(), 2);
  EXPECT_TRUE(
      contains(ranks.out(), "train.batch_size = 10 is too small for 20 data parallel ranks"));
}

TEST_F(ConfigCheck, FineTuning) {
  const std::string data = "data.train=" + folder_ / "examples.h5";
  // Found out from the data; without a checkpoint there is nothing to tune.
  EXPECT_TRUE(fails(check({data}), 2, "fine-tuning starts from a checkpoint"));
  output_of(
      {"pretrain", config_, "--set", "train.steps=1", "--set", "train.output=" + folder_ / "base"});
  const Arguments sft = {data, "data.validation=", "train.init=" + folder_ / "base",
                         "train.epochs=2"};
  Arguments with = sft;
  const std::string text = report(with, 0);
  EXPECT_TRUE(contains(text, "task: sft")) << text;
  EXPECT_TRUE(contains(text, "20 examples per epoch; 4 steps are 2 epochs")) << text;
  EXPECT_TRUE(contains(text, "step-00000001.h5: step 1, 1 layer of hidden size 8, 10 ids")) << text;
  with = sft;
  with.insert(with.end(), {"lora.rank=2", "lora.targets=q_proj,query"});
  EXPECT_TRUE(contains(report(with, 2), "lora.targets: 'query' is no matrix of a block"));
  with.back() = "lora.targets=q_proj,ff_out";
  EXPECT_TRUE(contains(report(with, 0), "rank 2 on q_proj and ff_out"));
  with = sft;
  with.emplace_back("model.hidden_size=16");
  EXPECT_EQ(Program(check(with)).wait(), 2);
  // As pretraining, the same file gets a warning.
  Arguments pretraining = check({data});
  pretraining.insert(pretraining.end(), {"--task", "pretrain"});
  EXPECT_TRUE(contains(output_of(pretraining), "was made for lacuna sft"));
}

}  // namespace
}  // namespace lacuna
