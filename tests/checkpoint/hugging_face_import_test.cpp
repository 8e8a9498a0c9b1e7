#include <nlohmann/json.hpp>

#include "tests/checkpoint/hugging_face_support.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::LladaFolder;
using testing::same;
using Json = nlohmann::ordered_json;

/// kLladaConfig with keys replaced, or removed where the value is null.
std::string config_with(const Json& changes) {
  auto json = Json::parse(testing::kLladaConfig);
  for (const auto& [key, value] : changes.items())
    if (value.is_null())
      json.erase(key);
    else
      json[key] = value;
  return json.dump();
}
ModelConfig model_with(const Json& changes) {
  return model_config_from_hugging_face(config_with(changes), "config.json");
}
std::string mistake_with(const Json& changes) {
  return error_of([&] { model_with(changes); });
}

TEST(HuggingFaceConfig, what_it_says) {
  ModelConfig expected;
  expected.vocab_size = 16;  // rows of the embedding, not the tokens in use
  expected.num_layers = 2;
  expected.hidden_size = 8;
  expected.num_heads = 4;
  expected.num_kv_heads = 2;
  expected.intermediate_size = 12;
  expected.max_seq_length = 64;
  expected.rope_theta = 500000;
  expected.rms_norm_eps = 1e-5;
  expected.mask_token = 9;
  expected.eos_token = 8;
  expected.pad_token = 8;
  EXPECT_EQ(model_with({}), expected);
}

TEST(HuggingFaceConfig, what_may_be_left_out) {
  EXPECT_EQ(model_with({{"mlp_hidden_size", nullptr}}).intermediate_size, 32);  // mlp_ratio 4
  EXPECT_EQ(model_with({{"mlp_hidden_size", nullptr}, {"mlp_ratio", 2.5}}).intermediate_size, 20);
  EXPECT_EQ(model_with({{"n_kv_heads", nullptr}}).num_kv_heads, 4);
  EXPECT_EQ(model_with({{"n_kv_heads", nullptr}, {"multi_query_attention", true}}).num_kv_heads, 1);
  EXPECT_EQ(model_with({{"embedding_size", nullptr}}).vocab_size, 10);
  EXPECT_EQ(model_with({{"rope_theta", nullptr}}).rope_theta, 10000);
  EXPECT_EQ(model_with({{"mask_token_id", nullptr}}).mask_token, -1);
  EXPECT_EQ(model_with({{"eos_token_id", {3, 4}}}).eos_token, 3);
  EXPECT_TRUE(model_with({{"weight_tying", true}}).tie_embeddings);
  EXPECT_TRUE(model_with({{"include_qkv_bias", true}}).qkv_bias);
}

TEST(HuggingFaceConfig, what_this_program_cannot_be) {
  EXPECT_EQ(mistake_with({{"include_bias", true}}),
            "config.json: include_bias = true is not supported; this program's model has "
            "include_bias = false");
  const std::pair<const char*, Json> others[] = {{"block_type", "sequential"},
                                                 {"activation_type", "gelu"},
                                                 {"layer_norm_type", "default"},
                                                 {"rope", false},
                                                 {"alibi", true},
                                                 {"attention_layer_norm", true},
                                                 {"input_emb_norm", true},
                                                 {"scale_logits", true},
                                                 {"block_group_size", 2},
                                                 {"clip_qkv", 8.0},
                                                 {"bias_for_layer_norm", true}};
  for (const auto& [key, value] : others)
    EXPECT_TRUE(contains(mistake_with({{key, value}}),
                         str("config.json: ", key, " = ", value.dump(), " is not supported")));
}

TEST(HuggingFaceConfig, mistakes) {
  for (const char* key : {"d_model", "n_heads", "n_layers", "max_sequence_length"}) {
    EXPECT_EQ(mistake_with({{key, nullptr}}), str("config.json: has no ", key));
    EXPECT_EQ(mistake_with({{key, "8"}}), str("config.json: ", key, " = \"8\" is not an integer"));
    EXPECT_NE(mistake_with({{key, 0}}), "");
    EXPECT_NE(mistake_with({{key, -8}}), "");
  }
  EXPECT_EQ(mistake_with({{"n_heads", 3}}),
            "config.json: model.hidden_size = 8 must be a multiple of model.num_heads = 3, or "
            "model.head_dim be given");
  EXPECT_EQ(mistake_with({{"rope_theta", "x"}}), "config.json: rope_theta = \"x\" is not a number");
  EXPECT_EQ(mistake_with({{"weight_tying", 1}}),
            "config.json: weight_tying = 1 is neither true nor false");
  EXPECT_EQ(mistake_with({{"multi_query_attention", true}}),
            "config.json: multi_query_attention = true contradicts n_kv_heads = 2");
  EXPECT_EQ(mistake_with({{"mask_token_id", 16}}),
            "config.json: model.mask_token = 16 must be below model.vocab_size = 16");
  EXPECT_EQ(mistake_with({{"embedding_size", 0}}), "config.json: a vocabulary of 0 ids");
  const auto parse = [](const std::string& text) {
    return error_of([&] { model_config_from_hugging_face(text, "config.json"); });
  };
  EXPECT_TRUE(parse("").starts_with("config.json: malformed JSON, "));
  EXPECT_EQ(parse("[]"), "config.json: is not a JSON object but array");
  EXPECT_EQ(parse("{\"a\":" + std::string(200'000, '[')),
            "config.json: is nested more than 100 deep");
}

TEST(HuggingFaceImport, is_a_checkpoint_of_the_same_tensors) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (const std::int64_t shard_bytes : {kShardBytes, std::int64_t{1200}}) {
      const LladaFolder from(dtype, shard_bytes);
      const Folder to;
      import_hugging_face(from.path(), to / "k.h5");
      const CheckpointReader reader(to / "k.h5");
      reader.verify();
      EXPECT_EQ(reader.info().step, 0);
      EXPECT_EQ(reader.info().tokenizer, testing::kTokenizer);
      EXPECT_EQ(parse_config(reader.info().config, "config").model, from.model);
      EXPECT_EQ(reader.names("model").size(), from.tensors.size());
      EXPECT_TRUE(reader.names("first_moment").empty());
      for (const NamedTensor& t : from.tensors) {
        testing::Tensors own;
        const Tensor read = own.zeros(reader.shape("model", t.name), reader.dtype("model", t.name));
        reader.read("model", t.name, read);
        EXPECT_TRUE(same(read, t.tensor)) << t.name;
      }
    }
}

TEST(HuggingFaceImport, folders_that_do_not_fit_together) {
  const Folder to;
  const auto mistake_after = [&](const std::function<void(const LladaFolder&)>& change) {
    const LladaFolder from(DType::f32);
    change(from);
    const std::string message = error_of([&] { import_hugging_face(from.path(), to / "k.h5"); });
    EXPECT_TRUE(to.files().empty()) << message;
    return message;
  };
  const auto with_config = [&](const Json& changes) {
    return mistake_after(
        [&](const LladaFolder& f) { f.folder.write("config.json", config_with(changes)); });
  };
  EXPECT_TRUE(contains(with_config({{"n_layers", 3}}),
                       "tensor 'model.transformer.blocks.2.attn_norm.weight' is missing"));
  EXPECT_TRUE(contains(with_config({{"n_layers", 1}}),
                       "tensor 'model.transformer.blocks.1.attn_norm.weight' has no place in the "
                       "model that config.json describes"));
  EXPECT_TRUE(contains(with_config({{"mlp_hidden_size", 14}}),
                       "tensor 'model.transformer.blocks.0.ff_proj.weight' has shape [12,8]; "
                       "config.json makes it [14,8]"));
  EXPECT_TRUE(contains(with_config({{"weight_tying", true}}),
                       "config.json says that the head is the embedding, but tensor "
                       "'model.transformer.ff_out.weight' differs from "
                       "'model.transformer.wte.weight'"));
  const auto remove = [](const char* file) {
    return [file](const LladaFolder& f) { fs::remove(f.folder / file); };
  };
  EXPECT_TRUE(contains(mistake_after(remove("config.json")), "has no config.json"));
  EXPECT_TRUE(contains(mistake_after(remove("model.safetensors")), "has neither"));
  EXPECT_TRUE(
      contains(mistake_after([](const LladaFolder& f) { f.folder.write("tokenizer.json", "{"); }),
               "tokenizer.json: malformed JSON"));
  EXPECT_TRUE(contains(mistake_after([](const LladaFolder& f) {
                         fs::resize_file(f.folder / "model.safetensors", 2000);
                       }),
                       "model.safetensors: "));
  EXPECT_EQ(error_of([&] { import_hugging_face(to / "none", to / "k.h5"); }),
            to / "none" + ": no such folder");
  EXPECT_TRUE(contains(error_of([&] {
                         const LladaFolder f(DType::i32);
                         import_hugging_face(f.path(), to / "k.h5");
                       }),
                       "is i32, not f32, bf16 or f16"));
}

TEST(HuggingFaceImport, without_a_tokenizer) {
  const LladaFolder from(DType::f32);
  fs::remove(from.folder / "tokenizer.json");
  const Folder to;
  ::testing::internal::CaptureStderr();
  import_hugging_face(from.path(), to / "k.h5");
  EXPECT_TRUE(contains(::testing::internal::GetCapturedStderr(), "tokenizer.json: is missing"));
  EXPECT_EQ(CheckpointReader(to / "k.h5").info().tokenizer, "");
}

}  // namespace
}  // namespace lacuna
