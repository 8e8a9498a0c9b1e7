#include <cstring>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_export.h"
#include "checkpoint/hugging_face.h"
#include "checkpoint/model_family.h"
#include "core/atomic_file.h"
#include "core/input_file.h"
#include "model_io/loaded_model.h"
#include "model_io/tensor_io.h"
#include "tests/model/support.h"
#include "tests/support/golden.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT
using Json = nlohmann::ordered_json;

/// A model of scripts/golden/families.py, as a Hugging Face folder.
class Families : public ::testing::TestWithParam<const char*> {
 protected:
  Families() : golden_(str("family_", GetParam())) { write(golden_.metadata("config")); }

  std::string path() const { return folder_ / "hf"; }
  void write(const std::string& config, const std::string& without = "") {
    std::filesystem::create_directories(path());
    write_file(path() + "/config.json", config);
    std::vector<TensorInfo> infos;
    for (const std::string& name : golden_.names()) {
      if (!name.starts_with("weights/") || name == "weights/" + without) continue;
      infos.push_back({name.substr(8), golden_[name].shape, DType::f32});
    }
    write_safetensors_sharded(path(), infos, {}, [&](std::size_t i, const Tensor& out) {
      std::memcpy(out.data, golden_["weights/" + infos[i].name].data, std::size_t(out.bytes()));
    });
  }
  std::string config_with(const Json& changes) const {
    Json config = Json::parse(golden_.metadata("config"));
    for (const auto& [key, value] : changes.items()) {
      if (value.is_null())
        config.erase(key);
      else
        config[key] = value;
    }
    return config.dump();
  }
  std::string mistake_with(const Json& changes) const {
    return error_of([&] { model_config_from_hugging_face(config_with(changes), "config.json"); });
  }
  std::vector<float> logits_of(const ModelConfig& config, const ModelWeights& weights) {
    const Tensor tokens = golden_["tokens"];
    Sequences sequences = Sequences::equal(1, tokens.count());
    sequences.logit_rows = every_row(tokens.count());
    Model model(ops_, config, weights, {tokens.count(), 1, tokens.count(), false});
    Head head(ops_, config, weights, tokens.count(), nullptr, HeadUse::logits);
    const Tensor logits = head.logits(model.forward(tokens, sequences));
    std::vector<float> wide(std::size_t(logits.count()));
    ops_.copy(Tensor(wide.data(), logits.shape), logits);
    return wide;
  }
  bool has_experts() const { return GetParam() == std::string("llada_moe"); }
  const char* width_key() const {
    return has_experts() ? "expert_intermediate_size" : "intermediate_size";
  }
  double error_against_golden(const std::vector<float>& logits) const {
    return relative_error(tensor_of(logits), golden_["logits"]);
  }

  Golden golden_;
  Folder folder_;
  CpuOps ops_{2};
};

TEST_P(Families, LogitsOfTheFolderAreThoseOfTransformers) {
  const LoadedModel model =
      load_model(ModelSource(path()), std::make_unique<CpuOps>(2), DType::f32);
  EXPECT_LT(error_against_golden(logits_of(model.config(), model.weights)), 1e-5);
}

// Through two blocks; an element of bf16 is off by 2^-9 at most.
TEST_P(Families, LogitsInBf16) {
  const LoadedModel model =
      load_model(ModelSource(path()), std::make_unique<CpuOps>(2), DType::bf16);
  EXPECT_LT(error_against_golden(logits_of(model.config(), model.weights)), 0.05);
}

TEST_P(Families, LogitsOfWeightsForTraining) {
  const ModelSource source(path());
  if (has_experts()) {
    EXPECT_EQ(error_of([&] { ModelTensors(host_memory(), source.config, "weights"); }),
              "model.num_experts = 6: training and LoRA of a mixture of experts are not supported; "
              "such a model is for inference");
    return;
  }
  ModelTensors weights(host_memory(), source.config, "weights");
  std::vector<WeightPiece> pieces = pieces_within(weights, {{0, weights.flat().count()}});
  read_pieces(source.reader, "model", weights, pieces, ops_);
  EXPECT_LT(error_against_golden(logits_of(source.config, weights)), 1e-5);
}

TEST_P(Families, ImportThenExportGivesEveryBitBack) {
  import_hugging_face(path(), folder_ / "model.h5");
  export_hugging_face(folder_ / "model.h5", folder_ / "out");
  EXPECT_EQ(read_file(folder_ / "out/config.json"), golden_.metadata("config"));
  const SafetensorsFolder before(path()), after(folder_ / "out");
  EXPECT_EQ(after.names(), before.names());
  for (const std::string& name : before.names()) {
    const Tensor a = before.view(name), b = after.view(name);
    ASSERT_EQ(a.shape, b.shape) << name;
    EXPECT_EQ(std::memcmp(a.data, b.data, std::size_t(a.bytes())), 0) << name;
  }
}

TEST_P(Families, AGgufFileOfItHasTheSameLogits) {
  const std::string file = folder_ / "model.gguf";
  const ModelSource source(path());
  if (source.config.attention == Attention::block_causal) {
    EXPECT_TRUE(contains(error_of([&] { export_gguf(path(), file, MatrixFormat::f32); }),
                         "llama.cpp has bidirectional and causal attention only"));
    return;
  }
  export_gguf(path(), file, MatrixFormat::f32);
  const LoadedModel folder =
                        load_model(ModelSource(path()), std::make_unique<CpuOps>(2), DType::f32),
                    gguf = load_model(ModelSource(file), std::make_unique<CpuOps>(2), DType::f32);
  EXPECT_EQ(gguf.config(), folder.config());
  EXPECT_EQ(logits_of(gguf.config(), gguf.weights), logits_of(folder.config(), folder.weights));
}

// What was trained here, or changed so that it left its family, has no config.json to keep.
TEST_P(Families, WithoutAConfigToKeepTheExportIsReadAsTheSameModel) {
  const ModelConfig model =
      model_config_from_hugging_face(golden_.metadata("config"), "config.json");
  const std::string anew = model_config_to_hugging_face(model, "");
  EXPECT_EQ(model_config_from_hugging_face(anew, "new"), model);
  EXPECT_EQ(Json::parse(anew)["architectures"],
            Json::parse(golden_.metadata("config"))["architectures"]);
}

TEST_P(Families, OnlyChangedKeysOfTheConfigAreWritten) {
  const std::string original = golden_.metadata("config");
  ModelConfig model = model_config_from_hugging_face(original, "config.json");
  model.rope_theta = 20000;
  model.mask_token = 23;
  const std::string changed = model_config_to_hugging_face(model, original);
  EXPECT_EQ(model_config_from_hugging_face(changed, "changed"), model);
  Json expected = Json::parse(original), found = Json::parse(changed);
  for (Json* json : {&expected, &found})
    for (const char* key : {"rope_theta", "rope_parameters", "mask_token_id"}) json->erase(key);
  EXPECT_EQ(found, expected);
}

TEST_P(Families, WhatThisProgramCannotBe) {
  const std::pair<const char*, Json> others[] = {{"hidden_act", "gelu"},
                                                 {"attention_bias", true},
                                                 {"mlp_bias", true},
                                                 {"use_sliding_window", true},
                                                 {"partial_rotary_factor", 0.5},
                                                 {"quantization_config", {{"bits", 4}}}};
  for (const auto& [key, value] : others)
    EXPECT_TRUE(mistake_with({{key, value}})
                    .starts_with(str("config.json: ", key, " = ", value.dump(),
                                     " is not supported; this program's model has ", key, " = ")))
        << mistake_with({{key, value}});
  EXPECT_EQ(mistake_with({{"rope_parameters", nullptr},
                          {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}}}),
            "config.json: rope_scaling.rope_type = \"yarn\" is not supported; this program's model "
            "has \"default\", positions without scaling");
  EXPECT_TRUE(contains(mistake_with({{"rope_parameters", {{"type", "linear"}}}}),
                       "rope_parameters.type = \"linear\" is not supported"));
  EXPECT_EQ(mistake_with({{"layer_types", {"full_attention", "sliding_attention"}}}),
            "config.json: layer_types has \"sliding_attention\"; this program's model has "
            "\"full_attention\" alone");
}

TEST_P(Families, Mistakes) {
  for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads", width_key(),
                          "max_position_embeddings", "vocab_size"}) {
    EXPECT_EQ(mistake_with({{key, nullptr}}), str("config.json: has no ", key));
    EXPECT_EQ(mistake_with({{key, "8"}}), str("config.json: ", key, " = \"8\" is not an integer"));
    for (const int size : {0, -8}) EXPECT_NE(mistake_with({{key, size}}), "") << key;
  }
  EXPECT_EQ(mistake_with({{"num_key_value_heads", 3}}),
            "config.json: model.num_kv_heads = 3 must divide model.num_heads = 4");
  EXPECT_EQ(mistake_with({{"head_dim", 0}}), "config.json: head_dim = 0 must be at least 1");
  EXPECT_EQ(mistake_with({{"head_dim", 5}}),
            "config.json: model.head_dim = 5 must be even: rotary positions turn pairs");
  EXPECT_EQ(mistake_with({{"hidden_size", 18}, {"head_dim", nullptr}}),
            "config.json: model.hidden_size = 18 must be a multiple of model.num_heads = 4, or "
            "model.head_dim be given");
  EXPECT_EQ(mistake_with({{"rope_parameters", 3}}),
            "config.json: rope_parameters = 3 is not an object");
  EXPECT_EQ(mistake_with({{"layer_types", 3}}), "config.json: layer_types = 3 is not a list");
  EXPECT_TRUE(mistake_with({{"architectures", {"MistralForCausalLM"}}})
                  .starts_with("config.json: architectures = [\"MistralForCausalLM\"] is of no "
                               "known family; known are LLaDA (LLaDAModelLM), LLaDA-MoE "
                               "(LLaDAMoEModelLM), Dream (DreamModel), "));
  EXPECT_TRUE(mistake_with({{"architectures", nullptr}, {"model_type", "mistral"}})
                  .starts_with("config.json: model_type = \"mistral\" is of no known family"));
  EXPECT_EQ(mistake_with({{"architectures", nullptr}}), "");
}

TEST_P(Families, TensorsThatDoNotFit) {
  const auto mistake = [&] { return error_of([&] { HuggingFaceReader{path()}; }); };
  write(config_with({{width_key(), 22}}));
  EXPECT_TRUE(contains(
      mistake(), has_experts()
                     ? "tensor 'model.layers.0.mlp.experts.0.gate_proj.weight' has shape [10,16]; "
                       "config.json makes it [22,16]"
                     : "tensor 'model.layers.0.mlp.gate_proj.weight' has shape [20,16]; "
                       "config.json makes it [22,16]"));
  write(config_with({}), "model.layers.1.self_attn.k_proj.weight");
  EXPECT_TRUE(contains(mistake(), "tensor 'model.layers.1.self_attn.k_proj.weight' is missing"));
  write(config_with({{"num_hidden_layers", 1}, {"layer_types", nullptr}}));
  EXPECT_TRUE(contains(mistake(), "has no place in the model that config.json describes"));
}

INSTANTIATE_TEST_SUITE_P(Transformers, Families,
                         ::testing::Values("llama", "llama_tied", "qwen2", "qwen3", "sdar", "dream",
                                           "fast_dllm_v2", "llada_moe"),
                         [](const auto& test) { return std::string(test.param); });

// Qwen2's and Qwen3's weights have parts that LLaMA's have not.
TEST(ModelFamilies, AreRecognisedByWhatTheirModelsHave) {
  for (const ModelFamily& family : model_families()) {
    const Json config = {{"architectures", {family.architecture}}};
    EXPECT_STREQ(family_of(config, "config.json").name, family.name);
    Json typed = {{"model_type", family.model_type}};
    if (family.has_experts()) typed["num_experts"] = 8;
    EXPECT_STREQ(family_of(typed, "config.json").name, family.name);
    ModelConfig model;
    model.attention = family.attention;
    model.qkv_bias = family.qkv_bias;
    model.qk_norm = family.qk_norm;
    model.logits_shift = family.logits_shift;
    model.num_experts = family.has_experts() ? 8 : 0;
    EXPECT_STREQ(family_of(model).name, family.name);
  }
  ModelConfig none;
  none.qk_norm = true;
  EXPECT_TRUE(error_of([&] { (void)family_of(none); })
                  .starts_with("a model with attention = bidirectional, qk_norm is of no family "
                               "with a Hugging Face layout; there are "));
}

}  // namespace
}  // namespace lacuna
