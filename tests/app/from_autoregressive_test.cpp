// From an autoregressive model's Hugging Face folder to a block diffusion model's, as a user runs
// it: import --add-mask-token, prepare, pretrain, sample, export, and pretrain on from the folder.
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_config.h"
#include "checkpoint/hugging_face.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/weights.h"
#include "tests/app/byte_tokenizer.h"
#include "tests/app/program.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT
using Json = nlohmann::ordered_json;

constexpr std::int32_t kEnd = 256, kMask = 257;

/// The bytes and <|endoftext|>.
std::string tokenizer_without_mask() {
  Json json = Json::parse(byte_tokenizer_json());
  json["added_tokens"].erase(0);
  json["added_tokens"][0]["id"] = kEnd;
  return json.dump();
}

class FromAutoregressive : public ::testing::Test {
 protected:
  static std::string output_of(const std::vector<std::string>& arguments) {
    Program program(arguments);
    EXPECT_EQ(program.wait(), 0) << program.err();
    return program.out() + program.err();
  }
  std::string at(const std::string& name) const { return folder_ / name; }

  /// A random Qwen3 model, or Qwen2, with so many rows of its tables, as a Hugging Face folder.
  void save_qwen(int version, std::int64_t rows) {
    Config config;
    ModelConfig& m = config.model;
    m.vocab_size = rows;
    m.num_layers = 2;
    m.hidden_size = 32;
    m.num_heads = 2;
    m.num_kv_heads = 1;
    m.head_dim = version == 3 ? 24 : 0;
    m.intermediate_size = 48;
    m.max_seq_length = 68;  // no whole blocks
    m.tie_embeddings = true;
    (version == 3 ? m.qk_norm : m.qkv_bias) = true;
    m.attention = Attention::causal;
    m.eos_token = kEnd;
    CpuOps ops(1);
    ModelTensors weights(ops.memory(), m, "weights");
    initialise(weights, m, 3, ops);
    CheckpointInfo info;
    info.config = to_toml(config);
    info.tokenizer = tokenizer_without_mask();
    CheckpointTensors tensors;
    for (const NamedWeight& w : weights.named()) tensors.model.push_back({w.name, w.tensor});
    save_checkpoint(at("random.h5"), info, tensors);
    export_hugging_face(at("random.h5"), at("qwen"));
  }
  void expect_mask_in(const std::string& checkpoint, std::int64_t rows) {
    const CheckpointReader reader(checkpoint), before(at("random.h5"));
    const ModelConfig model = config_of_checkpoint(reader).model;
    EXPECT_EQ(model.mask_token, kMask);
    EXPECT_EQ(model.vocab_size, rows);
    const auto read = [](const CheckpointReader& from, const std::string& name) {
      std::vector<float> elements(std::size_t(from.shape("model", name).count()));
      from.read("model", name, Tensor(elements.data(), from.shape("model", name)));
      return elements;
    };
    for (const std::string& name : reader.names("model")) {
      std::vector<float> now = read(reader, name), then = read(before, name);
      if (name == embedding_name()) {
        const std::int64_t C = model.hidden_size;
        for (std::int64_t c = 0; c < C; ++c) {
          double mean = 0;
          for (std::int64_t r = 0; r < kMask; ++r)
            mean += double(then[std::size_t(r * C + c)]) / kMask;
          EXPECT_NEAR(now[std::size_t(kMask * C + c)], mean, 1e-6);
        }
        // All other rows are as they were.
        now.erase(now.begin() + kMask * C, now.begin() + (kMask + 1) * C);
        if (rows == before.shape("model", name)[0])
          then.erase(then.begin() + kMask * C, then.begin() + (kMask + 1) * C);
      }
      EXPECT_EQ(now, then) << name;
    }
    EXPECT_TRUE(contains(reader.info().tokenizer, "<|mdm_mask|>"));
  }

  Folder folder_;
};

// As docs/models.md has it: [model] names what changes, and the rest is that of train.init.
TEST_F(FromAutoregressive, ModelsWithBiasesKeepPredictingTheNextToken) {
  save_qwen(2, 257);
  output_of({"import", at("qwen"), "--output", at("base.h5"), "--add-mask-token"});
  folder_.write("text.txt", "the cat sat on the mat. the cat sat on the mat. the cat sat.");
  output_of({"prepare", "--tokenizer", at("base.h5"), "--input", at("text.txt"), "--output",
             at("train.h5")});
  const std::string config = folder_.write(
      "run.toml",
      str("[model]\nattention = \"block_causal\"\nblock_size = 8\nlogits_shift = true\n"
          "[data]\ntrain = \"",
          at("train.h5"),
          "\"\nsequence_length = 32\n[train]\nobjective = \"block_diffusion\"\ninit = \"",
          at("base.h5"), "\"\noutput = \"", at("run"),
          "\"\nnoisy_views = 2\ncomplementary_masks = true\nsteps = 2\nbatch_size = 2\n"
          "micro_batch_size = 2\n"));
  output_of({"config", "check", config});
  output_of({"pretrain", config});
  output_of({"export", at("run"), "--format", "safetensors", "--output", at("exported")});
  const Json exported = Json::parse(read_file(at("exported/config.json")));
  EXPECT_EQ(exported["architectures"], Json({"Fast_dLLM_QwenForCausalLM"}));
}

TEST_F(FromAutoregressive, AModelBecomesABlockDiffusionModel) {
  save_qwen(3, 257);
  EXPECT_TRUE(
      contains(output_of({"import", at("qwen"), "--output", at("base.h5"), "--add-mask-token"}),
               "the mask token <|mdm_mask|> is id 257, in a row that is new; the tables "
               "have 258 rows"));
  expect_mask_in(at("base.h5"), 258);
  std::string text;
  for (int i = 0; i < 200; ++i) text += "the cat sat on the mat. ";
  folder_.write("text.txt", text);
  output_of({"prepare", "--tokenizer", at("base.h5"), "--input", at("text.txt"), "--output",
             at("train.h5")});
  const auto config = [&](const std::string& init, const std::string& run) {
    return folder_.write(run + ".toml",
                         str("[model]\nattention = \"block_causal\"\nblock_size = 8\n"
                             "[data]\ntrain = \"",
                             at("train.h5"),
                             "\"\nsequence_length = 32\n[train]\nobjective = "
                             "\"block_diffusion\"\ninit = \"",
                             at(init), "\"\noutput = \"", at(run),
                             "\"\nblock_sizes = [1, 8]\nsteps = 60\nbatch_size = 8\n"
                             "micro_batch_size = 8\nlog_every = 30\neval_every = 0\n"
                             "checkpoint_every = 0\n[optimizer]\nlearning_rate = 1e-2\n"));
  };
  output_of({"pretrain", config("base.h5", "run")});
  const std::string sampled = output_of(
      {"sample", at("run"), "--prompt", "the cat ", "--gen-length", "16", "--num-samples", "1"});
  EXPECT_TRUE(contains(sampled, "t")) << sampled;

  output_of({"export", at("run"), "--format", "safetensors", "--output", at("sdar")});
  const Json exported = Json::parse(read_file(at("sdar/config.json")));
  EXPECT_EQ(exported["architectures"], Json({"SDARForCausalLM"}));
  EXPECT_EQ(exported["block_size"], 8);
  EXPECT_EQ(exported["mask_token_id"], kMask);
  EXPECT_EQ(exported["max_position_embeddings"], 64);
  EXPECT_TRUE(SafetensorsFolder(at("sdar")).has("model.layers.1.self_attn.k_norm.weight"));
  output_of({"pretrain", config("sdar", "on")});

  folder_.write("chat.json",
                R"({"begin": "", "message": "{role}: {content}\n", "reply": "assistant: "})");
  folder_.write("facts.jsonl", R"({"prompt": "sky", "response": "blue"})"
                               "\n"
                               R"({"prompt": "sun", "response": "gold"})"
                               "\n");
  output_of({"prepare", "--tokenizer", at("sdar"), "--input", at("facts.jsonl"), "--format", "chat",
             "--chat-template", at("chat.json"), "--output", at("facts.h5")});
  folder_.write("sft.toml", str("[data]\ntrain = \"", at("facts.h5"),
                                "\"\nsequence_length = 64\n[train]\noutput = \"", at("lora"),
                                "\"\nsteps = 2\nbatch_size = 2\nmicro_batch_size = 2\neval_every = "
                                "0\ncheckpoint_every = 0\n[lora]\nrank = 2\n"));
  output_of({"sft", "--config", at("sft.toml"), "--init", at("sdar")});
}

TEST_F(FromAutoregressive, ARowWithoutATokenIsUsedFirst) {
  save_qwen(3, 264);
  EXPECT_TRUE(
      contains(output_of({"import", at("qwen"), "--output", at("base.h5"), "--add-mask-token"}),
               "is id 257, in a row that had no token; the tables have 264 rows"));
  expect_mask_in(at("base.h5"), 264);
  EXPECT_TRUE(
      contains(output_of({"import", at("base.h5"), "--output", at("again.h5"), "--add-mask-token"}),
               "the model has a mask token, id 257"));
}

TEST_F(FromAutoregressive, WithoutATokenizerThereIsNothingToAddTo) {
  save_qwen(3, 264);
  std::filesystem::remove(at("qwen/tokenizer.json"));
  Program program({"import", at("qwen"), "--output", at("base.h5"), "--add-mask-token"});
  EXPECT_EQ(program.wait(), 2);
  EXPECT_TRUE(contains(program.err(), "holds no tokenizer; a mask token is added to"));
}

}  // namespace
}  // namespace lacuna
