// A mixture of experts, as a user runs it from a Hugging Face folder or a GGUF file: everything
// that does not train.
#include <nlohmann/json.hpp>

#include "tests/app/byte_tokenizer.h"
#include "tests/app/program.h"
#include "tests/support/mixture_folder.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

class MixtureProgram : public ::testing::Test {
 protected:
  MixtureProgram() {
    MixtureFolder{.vocab_size = 258, .mask = kByteMask, .end = kByteEnd}.write(model());
    write_file(model() + "/tokenizer.json", byte_tokenizer_json());
  }
  std::string model() const { return folder_ / "moe"; }
  std::string sampled(const std::string& from, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {
        "sample", from, "--prompt", "ab", "--gen-length", "16", "--block-length", "8", "--ids"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return output_of(arguments);
  }
  const Folder folder_;
};

TEST_F(MixtureProgram, InspectCountsTheExperts) {
  EXPECT_TRUE(contains(output_of({"inspect", model()}), "5 experts of width 32, 2 for a token"));
}

TEST_F(MixtureProgram, SamplesWithAnyStrategyAndCache) {
  const std::string text = sampled(model());
  EXPECT_EQ(sampled(model(), {"--threads", "1"}), text);
  EXPECT_EQ(sampled(model(), {"--device", "cuda-emulated"}), text);
  for (const char* strategy :
       {"threshold", "dynamic", "factor", "entropy", "margin", "remdm", "wino", "edit"})
    EXPECT_NE(sampled(model(), {"--strategy", strategy}), "") << strategy;
  for (const char* cache : {"prefix", "dual", "vicinity"})
    EXPECT_NE(sampled(model(), {"--cache", cache}), "") << cache;
}

TEST_F(MixtureProgram, AsAGgufFileAndAsACheckpoint) {
  const std::string text = sampled(model());
  output_of({"import", model(), "--output", folder_ / "moe.h5"});
  EXPECT_EQ(sampled(folder_ / "moe.h5"), text);
  output_of({"export", folder_ / "moe.h5", "--format", "gguf", "--dtype", "f32", "--output",
             folder_ / "moe.gguf"});
  EXPECT_EQ(sampled(folder_ / "moe.gguf"), text);
  EXPECT_TRUE(contains(output_of({"inspect", "--tensors", folder_ / "moe.gguf"}),
                       "blk.1.ffn_gate_exps.weight"));
  output_of({"export", folder_ / "moe.h5", "--format", "gguf", "--dtype", "q8_0", "--output",
             folder_ / "moe.gguf"});
  EXPECT_NE(sampled(folder_ / "moe.gguf"), "");
}

TEST_F(MixtureProgram, ForwardScoreAndEvaluate) {
  output_of({"forward", model(), "--tokens", "97 98 256 99", "--output", folder_ / "logits.h5"});
  EXPECT_TRUE(contains(output_of({"score", model(), "--text", "abc", "--samples", "4"}), "nats"));
  folder_.write("r.jsonl", "{\"q\": \"?\", \"choices\": [\"a\", \"b\"], \"answer\": 1}");
  const std::string task =
      folder_.write("task.toml", "[task]\ndata = \"r.jsonl\"\nprompt = \"{q}\"\n");
  EXPECT_TRUE(contains(output_of({"evaluate", task, "--checkpoint", model()}), "acc"));
}

TEST_F(MixtureProgram, DoesNotTrain) {
  const std::string text = folder_.write("text.txt", std::string(400, 'a') + "b");
  output_of({"prepare", "--tokenizer", model(), "--input", text, "--output", folder_ / "train.h5"});
  const std::string config = folder_.write(
      "run.toml", str("[data]\ntrain = \"", folder_ / "train.h5",
                      "\"\nsequence_length = 16\n[train]\noutput = \"", folder_ / "run",
                      "\"\nsteps = 1\nbatch_size = 2\nmicro_batch_size = 2\n"));
  const std::string refusal =
      "model.num_experts = 5: training and LoRA of a mixture of experts are not supported";
  const std::string init = "train.init=\"" + model() + "\"";
  EXPECT_TRUE(fails({"pretrain", config, "--set", init}, 2, refusal));
  EXPECT_TRUE(fails({"plan", config, "--set", init}, 2, refusal));
  const std::string chat = folder_.write(
      "chat.jsonl",
      "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", "
      "\"content\": \"b\"}]}\n");
  output_of({"prepare", "--format", "chat", "--chat-template", "chatml", "--tokenizer", model(),
             "--input", chat, "--output", folder_ / "chat.h5"});
  const std::string data = "data.train=\"" + (folder_ / "chat.h5") + "\"";
  for (const char* rank : {"lora.rank=0", "lora.rank=2"})
    EXPECT_TRUE(fails({"sft", "--config", config, "--init", model(), "--set", data, "--set",
                       "data.sequence_length=64", "--set", rank},
                      2, refusal))
        << rank;
  EXPECT_TRUE(fails({"config", "check", config, "--set", "model.num_experts=5", "--set",
                     "model.num_experts_per_tok=2"},
                    2, refusal));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));
  EXPECT_TRUE(fails({"sample", model(), "--prompt", "a", "--tensor-parallel", "2"}, 2,
                    "--tensor-parallel 2"));
}

}  // namespace
}  // namespace lacuna
