#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "checkpoint/checkpoint.h"
#include "core/atomic_file.h"
#include "core/text.h"
#include "data/token_file.h"
#include "tests/app/program.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::contains;
using testing::fails;
using testing::Folder;
using testing::Program;

using Arguments = std::vector<std::string>;

/// A tiny run that would take hours, but for what a test changes.
class Pretrain : public ::testing::Test {
 protected:
  void SetUp() override {
    write_tokens(folder_ / "data.h5", 2000, 10);
    config_ = folder_.write("c.toml", R"([model]
num_layers = 1
hidden_size = 8
num_heads = 2
intermediate_size = 8
max_seq_length = 16
[data]
train = ")" + folder_ / "data.h5" + R"("
sequence_length = 16
[train]
output = ")" + run_ + R"("
steps = 100000000
batch_size = 2
micro_batch_size = 2
log_every = 1
checkpoint_every = 0
[optimizer]
warmup_steps = 0
decay_steps = 0
)");
  }
  static void write_tokens(const std::string& path, std::int64_t n, std::int64_t vocabulary) {
    TokenFileWriter writer(path, {vocabulary, vocabulary - 1, vocabulary - 2, ""});
    std::vector<std::int32_t> tokens;
    for (std::int64_t i = 0; i < n; ++i) tokens.push_back(std::int32_t(i % (vocabulary - 2)));
    writer.append(tokens);
    writer.end_document();
    writer.finish();
    writer.commit();
  }
  Arguments with(const Arguments& more = {}) const {
    Arguments all = {"pretrain", "--config", config_};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  /// With keys set to other values.
  Arguments set(const Arguments& settings) const {
    Arguments more;
    for (const std::string& s : settings) {
      more.emplace_back("--set");
      more.push_back(s);
    }
    return with(more);
  }
  std::vector<std::string> checkpoints() const {
    std::vector<std::string> names;
    if (fs::exists(run_ + "/checkpoints"))
      for (const auto& entry : fs::directory_iterator(run_ + "/checkpoints"))
        names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }
  std::size_t metric_lines() const {
    const std::string text = read_file(run_ + "/metrics.jsonl");
    return std::size_t(std::count(text.begin(), text.end(), '\n'));
  }

  Folder folder_;
  const std::string run_ = folder_ / "run";
  std::string config_;
};

TEST_F(Pretrain, TrainsAndFillsTheRunFolder) {
  Program program(
      set({"train.steps=3", "train.checkpoint_every=2", "data.validation=" + folder_ / "data.h5"}));
  EXPECT_EQ(program.wait(), 0);
  EXPECT_TRUE(contains(program.out(), "done: step 3, saved as " + run_));
  EXPECT_TRUE(contains(program.err(), "step 3/3  loss "));
  EXPECT_TRUE(contains(program.err(), "validation after step 3: "));
  EXPECT_EQ(program.err().find('\r'), std::string::npos);  // no terminal: plain lines
  EXPECT_EQ(checkpoints(), (Arguments{"step-00000002.h5", "step-00000003.h5"}));
  EXPECT_EQ(metric_lines(), 4u);
  EXPECT_TRUE(contains(read_file(run_ + "/config.toml"), "vocab_size = 10"));
  int events = 0;
  for (const auto& entry : fs::directory_iterator(run_))
    events += entry.path().filename().string().starts_with("events.out.tfevents.");
  EXPECT_EQ(events, 1);
}

TEST_F(Pretrain, SignalsSaveAndTheNextSessionGoesOn) {
  int sessions = 0;
  std::int64_t step = 0;
  for (const int signal : {SIGTERM, SIGINT}) {
    Program program(sessions++ == 0 ? with() : with({"--resume"}));
    program.wait_for(str("step ", with_commas(step + 3), "/"));
    program.send(signal);
    EXPECT_EQ(program.wait(), 0) << program.err();
    EXPECT_TRUE(contains(program.err(), "finishing this step, then saving"));
    EXPECT_TRUE(contains(program.out(), "stopped after step "));
    EXPECT_TRUE(contains(program.out(), "lacuna pretrain --config " + config_ + " --resume\n"));
    const CheckpointReader reader(*newest_valid_checkpoint(run_));
    EXPECT_GE(reader.info().step, step + 3);
    step = reader.info().step;
    // Every step done, and none twice.
    EXPECT_EQ(metric_lines(), std::size_t(step));
  }
}

TEST_F(Pretrain, KilledItGoesOnFromTheLastCheckpoint) {
  {
    Program program(set({"train.checkpoint_every=2"}));
    program.wait_for("step 5/");
    program.send(SIGKILL);
    EXPECT_EQ(program.wait(), 128 + SIGKILL);
  }
  const std::int64_t saved = CheckpointReader(*newest_valid_checkpoint(run_)).info().step;
  EXPECT_GE(saved, 4);
  Program program(with({"--resume", "--set", str("train.steps=", saved + 2)}));
  EXPECT_EQ(program.wait(), 0) << program.err();
  EXPECT_TRUE(contains(program.err(), str("after step ", saved)));
  EXPECT_TRUE(contains(program.err(), "changed since: train.steps: 100000000 -> "));
  EXPECT_EQ(metric_lines(), std::size_t(saved + 2));
}

TEST_F(Pretrain, AskedForWhatIsThereAlready) {
  EXPECT_EQ(Program(set({"train.steps=1"})).wait(), 0);
  EXPECT_TRUE(fails(with(), 2, "holds a run already: add --resume"));
  EXPECT_TRUE(fails(with({"--resume", "--set", "model.hidden_size=16"}), 2,
                    "model.hidden_size = 16, but " + run_ +
                        "/checkpoints/step-00000001.h5 holds a model "
                        "of model.hidden_size = 8"));
  fs::resize_file(run_ + "/checkpoints/step-00000001.h5", 1000);
  EXPECT_TRUE(fails(with({"--resume"}), 1, "none of the checkpoints is valid"));
  EXPECT_EQ(checkpoints(), Arguments{"step-00000001.h5"});
}

TEST_F(Pretrain, OneRunOneProcess) {
  Program first(with());
  first.wait_for("step 1/");
  EXPECT_TRUE(fails(with({"--resume"}), 1, run_ + ": another process is training there"));
  first.send(SIGTERM);
  EXPECT_EQ(first.wait(), 0);
}

TEST_F(Pretrain, MistakesInTheCommandLine) {
  EXPECT_TRUE(fails({"pretrain"}, 2, "--config is required"));
  EXPECT_TRUE(fails({"pretrain", "--config"}, 2, "--config"));
  EXPECT_TRUE(fails(with({"--no-such-option"}), 2, "--no-such-option"));
  EXPECT_TRUE(fails(with({"stray"}), 2, "stray"));
  EXPECT_TRUE(fails({"pretrain", "--config", folder_ / "none.toml"}, 2, "none.toml"));
  EXPECT_TRUE(fails({"pretrain", "--config", folder_ / ""}, 2, folder_ / ""));
  EXPECT_TRUE(fails(set({"train.step=3"}), 2, "nearest known is 'steps'"));
  EXPECT_TRUE(fails(set({"trian.steps=3"}), 2, "train"));
  EXPECT_TRUE(fails(set({"steps"}), 2, "steps"));
  EXPECT_TRUE(fails(set({"train.steps=many"}), 2, "train.steps"));
  EXPECT_TRUE(fails(set({"train.steps=0"}), 2, "train.steps = 0 must be at least 1"));
  EXPECT_TRUE(fails(set({"model.hidden_size=9"}), 2, "model.hidden_size = 9"));
  EXPECT_TRUE(fails(set({"data.sequence_length=32"}), 2, "data.sequence_length = 32"));
  EXPECT_TRUE(fails(set({"parallel.tensor_parallel=2"}), 2, "parallel.tensor_parallel = 2"));
  EXPECT_TRUE(fails(with({"--trace", folder_ / "none/t.h5"}), 2, "there is no folder"));
  EXPECT_TRUE(fails(with({"--trace", folder_ / ""}), 2, "is a folder"));
  EXPECT_TRUE(fails(with({"--trace", ""}), 2, "--trace: names no file"));
  EXPECT_FALSE(fs::exists(run_));
}

TEST_F(Pretrain, MistakesInTheConfiguration) {
  const auto fails_with = [&](const std::string& toml, const std::string& part) {
    return fails({"pretrain", "--config", folder_.write("bad.toml", toml)}, 2, part);
  };
  EXPECT_TRUE(fails_with("[train]\nsteps = \n", "bad.toml:2"));
  EXPECT_TRUE(fails_with("[train]\n\nstep = 5\n", "bad.toml:3"));
  EXPECT_TRUE(fails_with("[train]\n\nstep = 5\n", "steps"));
  EXPECT_TRUE(fails_with("[optimiser]\n", "optimizer"));
  EXPECT_TRUE(fails_with("[model]\nnum_layers = \"two\"\n", "bad.toml:2"));
  EXPECT_TRUE(fails_with("[optimizer]\nschedule = \"linear\"\n", "wsd, cosine or constant"));
}

TEST_F(Pretrain, DataThatCannotBeUsed) {
  EXPECT_TRUE(fails(set({"data.train=" + folder_ / "none.h5"}), 1, "none.h5"));
  EXPECT_TRUE(fails(set({"data.train=" + config_}), 1, "c.toml"));
  write_tokens(folder_ / "short.h5", 15, 10);
  EXPECT_TRUE(fails(set({"data.train=" + folder_ / "short.h5"}), 1,
                    "holds 15 tokens, fewer than one sequence of 16"));
  EXPECT_TRUE(fails(set({"data.validation=" + folder_ / "short.h5"}), 1, "holds 15 tokens"));
  EXPECT_TRUE(fails(set({"model.vocab_size=9"}), 2, "holds ids up to 9; set it to 10 or more"));
  EXPECT_TRUE(fails(set({"model.mask_token=3"}), 2, "model.mask_token = 3, but "));
  fs::copy_file(folder_ / "data.h5", folder_ / "cut.h5");
  fs::resize_file(folder_ / "cut.h5", fs::file_size(folder_ / "cut.h5") - 100);
  EXPECT_TRUE(fails(set({"data.train=" + folder_ / "cut.h5"}), 1, "cut.h5"));
  EXPECT_FALSE(fs::exists(run_));
}

TEST_F(Pretrain, AFullDisk) {
  // Room for config.toml and metrics, not for the checkpoint after step 2.
  EXPECT_TRUE(fails(set({"train.checkpoint_every=2"}), 1, "step-00000002.h5", 12'000));
  EXPECT_EQ(checkpoints(), Arguments{});
  EXPECT_TRUE(fails(with({"--trace", folder_ / "trace.h5", "--resume"}), 1, "trace.h5", 12'000));
  EXPECT_FALSE(fs::exists(folder_ / "trace.h5"));
  EXPECT_FALSE(fs::exists(folder_ / "trace.h5.partial"));
}

TEST_F(Pretrain, GradientsThatAreNotFinite) {
  EXPECT_TRUE(fails(
      set({"optimizer.learning_rate=1e30", "optimizer.warmup_steps=0", "train.max_bad_steps=3"}), 1,
      "not finite in 3 steps in a row"));
}

TEST_F(Pretrain, HelpSaysAll) {
  Program program({"pretrain", "--help"});
  EXPECT_EQ(program.wait(), 0);
  for (const char* part : {"--config", "--set", "--resume", "--trace", "max_bad_steps", "mfu",
                           "12 C (N (L-1) + M) S", "Ctrl-C"})
    EXPECT_TRUE(contains(program.out(), part));
}

}  // namespace
}  // namespace lacuna
