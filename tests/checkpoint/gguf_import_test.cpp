#include "checkpoint/gguf_import.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint_config.h"
#include "checkpoint/gguf_architecture.h"
#include "checkpoint/gguf_export.h"
#include "formats/gguf.h"
#include "tests/support/golden.h"
#include "tests/support/paths.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT
using Json = nlohmann::json;

/// What a small LLaDA's keys are, one of which a test changes.
struct Keys {
  std::string architecture = "llada";
  std::map<std::string, std::uint32_t> counts = {
      {"block_count", 1},          {"context_length", 48},      {"embedding_length", 32},
      {"feed_forward_length", 32}, {"attention.head_count", 4}, {"attention.head_count_kv", 2}};
  std::map<std::string, float> numbers = {{"attention.layer_norm_rms_epsilon", 1e-6f},
                                          {"rope.freq_base", 500000.0f}};
  std::function<void(GgufKeys&)> more = [](GgufKeys&) {};

  /// A file of these keys and an embedding alone.
  std::string write(const Folder& folder) const {
    GgufKeys keys;
    if (!architecture.empty()) keys.add("general.architecture", architecture);
    for (const auto& [key, value] : counts) keys.add(architecture + "." + key, value);
    for (const auto& [key, value] : numbers) keys.add(architecture + "." + key, value);
    more(keys);
    std::string path = folder / "keys.gguf";
    GgufWriter writer(path, keys, {{"token_embd.weight", {24, 32}, MatrixFormat::f32}});
    const std::vector<float> zeros(24 * 32);
    writer.write(zeros.data(), std::int64_t(zeros.size()));
    writer.commit();
    return path;
  }
  ModelConfig model() const {
    const Folder folder;
    return model_config_from_gguf(GgufFile(write(folder)));
  }
  std::string mistake() const {
    const std::string message = error_of([&] { (void)model(); });
    return message.substr(std::min(message.size(), message.find(": ") + 2));
  }
};

Keys with(const std::function<void(Keys&)>& change) {
  Keys keys;
  change(keys);
  return keys;
}
Keys with_key(const std::string& key, auto value) {
  return with([&](Keys& k) { k.more = [=](GgufKeys& keys) { keys.add(key, value); }; });
}

TEST(GgufConfig, OfALlada) {
  ModelConfig expected;
  expected.vocab_size = 24;
  expected.num_layers = 1;
  expected.hidden_size = 32;
  expected.num_heads = 4;
  expected.num_kv_heads = 2;
  expected.intermediate_size = 32;
  expected.max_seq_length = 48;
  expected.rms_norm_eps = 1e-6;  // not the double nearest to the float
  expected.rope_theta = 500000;
  expected.tie_embeddings = true;
  EXPECT_EQ(Keys().model(), expected);
  expected.mask_token = 20;
  EXPECT_EQ(with_key("tokenizer.ggml.mask_token_id", std::uint32_t{20}).model(), expected);
}

TEST(GgufConfig, OfEachArchitecture) {
  for (const GgufArchitecture& architecture : gguf_architectures()) {
    const ModelConfig m = with([&](Keys& k) {
                            k.architecture = architecture.name;
                            if (!architecture.experts) return;
                            k.counts["expert_count"] = 6;
                            k.counts["expert_used_count"] = 2;
                          }).model();
    EXPECT_EQ(m.attention, architecture.attention) << architecture.name;
    EXPECT_EQ(m.qkv_bias, architecture.qkv_bias);
    EXPECT_EQ(m.qk_norm, architecture.qk_norm);
    EXPECT_EQ(m.logits_shift, architecture.logits_shift);
    EXPECT_EQ(m.num_experts, architecture.experts ? 6 : 0);
    // Where the file does not say it, those of a token are as wide as a dense layer.
    EXPECT_EQ(m.intermediate_size, architecture.experts ? 16 : 32);
    EXPECT_EQ(gguf_architecture(m, "x").name, architecture.name);
  }
  EXPECT_TRUE(with_key("diffusion.shift_logits", true).model().logits_shift);
  EXPECT_EQ(with_key("llada.attention.causal", true).model().attention, Attention::causal);
  EXPECT_EQ(with_key("llada.attention.key_length", std::uint32_t{10}).mistake(),
            "heads of 10 for keys (llada.attention.key_length) and 8 for values "
            "(llada.attention.value_length) are not supported; this program's model has one width");
}

TEST(GgufConfig, OfAMixtureOfExperts) {
  const auto of = [](std::uint32_t experts, std::uint32_t each, const char* more, std::uint32_t n) {
    return with([&](Keys& k) {
      k.architecture = "llada-moe";
      k.counts.erase("feed_forward_length");  // as llama.cpp's converter writes it
      k.counts["expert_count"] = experts;
      k.counts["expert_used_count"] = each;
      k.counts[more] = n;
    });
  };
  const ModelConfig m = of(6, 2, "expert_feed_forward_length", 24).model();
  EXPECT_EQ(m.num_experts, 6);
  EXPECT_EQ(m.num_experts_per_tok, 2);
  EXPECT_EQ(m.intermediate_size, 24);
  EXPECT_FALSE(m.norm_topk_prob);
  EXPECT_EQ(of(6, 2, "block_count", 1).mistake(), "has no key 'llada-moe.feed_forward_length'");
  EXPECT_EQ(
      of(0, 2, "expert_feed_forward_length", 24).mistake(),
      "llada-moe.expert_count = 0 and llada-moe.expert_used_count = 2; there must be experts");
  EXPECT_EQ(
      of(6, 0, "expert_feed_forward_length", 24).mistake(),
      "llada-moe.expert_count = 6 and llada-moe.expert_used_count = 0; there must be experts");
  EXPECT_EQ(of(6, 7, "expert_feed_forward_length", 24).mistake(),
            "its keys describe no model: model.num_experts_per_tok = 7 must be at most "
            "model.num_experts = 6");
  EXPECT_EQ(of(6, 2, "expert_shared_count", 1).mistake(),
            "llada-moe.expert_shared_count = 1 is not supported; this program's model has 0");
}

TEST(GgufConfig, Mistakes) {
  EXPECT_EQ(with([](Keys& k) { k.architecture = ""; }).mistake(),
            "has no key 'general.architecture'");
  EXPECT_TRUE(with([](Keys& k) { k.architecture = "gemma"; })
                  .mistake()
                  .starts_with("general.architecture = 'gemma' is not known; known are llada, "));
  EXPECT_TRUE(contains(with([](Keys& k) { k.architecture = "diffuse"; }).mistake(),
                       "is that of diffuse-cpp"));
  for (const char* key : {"block_count", "context_length", "embedding_length",
                          "feed_forward_length", "attention.head_count"}) {
    EXPECT_EQ(with([&](Keys& k) { k.counts.erase(key); }).mistake(),
              str("has no key 'llada.", key, "'"));
    EXPECT_NE(with([&](Keys& k) { k.counts[key] = 0; }).mistake(), "") << key;
    EXPECT_EQ(with([&](Keys& k) {
                k.counts.erase(key);
                k.more = [&](GgufKeys& keys) { keys.add(str("llada.", key), "8"); };
              }).mistake(),
              str("key 'llada.", key, "' is of type str, no integer"));
  }
  EXPECT_EQ(with([](Keys& k) { k.counts["attention.head_count_kv"] = 3; }).mistake(),
            "its keys describe no model: model.num_kv_heads = 3 must divide model.num_heads = 4");
  EXPECT_EQ(with([](Keys& k) { k.numbers.erase("attention.layer_norm_rms_epsilon"); }).mistake(),
            "has no key 'llada.attention.layer_norm_rms_epsilon'");
  EXPECT_EQ(with_key("llada.attention.sliding_window", std::uint32_t{8}).mistake(),
            "llada.attention.sliding_window = 8 is not supported; this program's model has 0");
  EXPECT_EQ(with_key("llada.rope.dimension_count", std::uint32_t{4}).mistake(),
            "llada.rope.dimension_count = 4 is not supported; this program's model has 8");
  EXPECT_EQ(with_key("llada.expert_count", std::uint32_t{8}).mistake(),
            "llada.expert_count = 8 is not supported; this program's model has 0");
  EXPECT_EQ(with_key("llada.rope.scaling.type", "yarn").mistake(),
            "llada.rope.scaling.type = 'yarn' is not supported; this program's model has positions "
            "without scaling");
  EXPECT_EQ(
      with_key("tokenizer.ggml.mask_token_id", std::uint32_t{24}).mistake(),
      "its keys describe no model: model.mask_token = 24 must be below model.vocab_size = 24");
}

// Files of llama.cpp's own package (scripts/golden/gguf_files.py).
TEST(GgufImport, HasTheWeightsAndTheTokensOfTheModel) {
  const Golden golden("gguf");
  for (const char* format : {"f32", "f16", "bf16", "q8_0"}) {
    const std::unique_ptr<const ModelReader> reader =
        open_gguf(golden_path(str("gguf_", format, ".gguf")));
    const ModelConfig model = config_of_checkpoint(*reader).model;
    EXPECT_EQ(model.mask_token, 20);
    EXPECT_EQ(model.eos_token, 21);
    EXPECT_EQ(model.pad_token, 21);
    const Json tokenizer = Json::parse(reader->info().tokenizer),
               expected = Json::parse(golden.metadata("tokenizer"));
    EXPECT_EQ(tokenizer["added_tokens"], expected["added_tokens"]);
    EXPECT_EQ(tokenizer["model"]["vocab"], expected["model"]["vocab"]);
    EXPECT_EQ(tokenizer["pre_tokenizer"], expected["pre_tokenizer"]);
    if (std::string(format) != "f32") continue;
    for (const std::string& name : reader->names("model")) {
      std::vector<float> elements(std::size_t(reader->shape("model", name).count()));
      const Tensor read(elements.data(), reader->shape("model", name));
      reader->read("model", name, read);
      const Tensor of_golden = golden["weights/" + name];
      for (std::int64_t i = 0; i < read.count(); ++i)
        ASSERT_EQ(read.as<float>()[i], of_golden.as<float>()[i]) << name << ' ' << i;
    }
  }
}

TEST(GgufImport, ThenExportGivesTheFileBack) {
  const Folder folder;
  for (const MatrixFormat format : {MatrixFormat::f32, MatrixFormat::f16, MatrixFormat::bf16}) {
    const std::string from = golden_path(str("gguf_", text_of(format), ".gguf"));
    import_gguf(from, folder / "k.h5");
    export_gguf(folder / "k.h5", folder / "out.gguf", format);
    EXPECT_EQ(read_file(folder / "out.gguf"), read_file(from)) << text_of(format);
  }
}

TEST(GgufTokenizer, KindsThatAreNotKnownLeaveIdsAlone) {
  const auto tokenizer = [](const std::string& kind, const std::string& split) {
    const Folder folder;
    Keys keys;
    keys.more = [&](GgufKeys& k) {
      k.add("tokenizer.ggml.model", kind);
      k.add("tokenizer.ggml.pre", split);
      k.add("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "ab", "<x>", "[PAD4]"});
      k.add("tokenizer.ggml.token_type", std::vector<std::int32_t>{1, 1, 1, 3, 5});
      k.add("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
    };
    return tokenizer_from_gguf(GgufFile(keys.write(folder)));
  };
  for (const char* split : {"gpt-2", "llama-bpe", "qwen2", "bailingmoe"}) {
    const Json json = Json::parse(tokenizer("gpt2", split));
    EXPECT_EQ(json["model"]["vocab"], (Json{{"a", 0}, {"b", 1}, {"ab", 2}}));
    EXPECT_EQ(json["added_tokens"].size(), 1u);
    EXPECT_EQ(json["normalizer"].is_null(), std::string(split) != "qwen2");
  }
  EXPECT_EQ(tokenizer("no_vocab", ""), "");
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(tokenizer("llama", "default"), "");
  EXPECT_EQ(tokenizer("gpt2", "viking"), "");
  const std::string warnings = ::testing::internal::GetCapturedStderr();
  EXPECT_TRUE(contains(warnings, "tokenizer.ggml.model = 'llama' is not supported"));
  EXPECT_TRUE(contains(warnings, "tokenizer.ggml.pre = 'viking' is a split that is not known"));
}

}  // namespace
}  // namespace lacuna
