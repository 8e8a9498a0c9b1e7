#include <cmath>
#include <optional>

#include "checkpoint/hugging_face.h"
#include "core/check.h"
#include "core/json.h"
#include "core/log.h"
#include "core/text.h"
#include "model/weight_spec.h"

namespace lacuna {
namespace {

using Json = nlohmann::ordered_json;

// What LLaDA-8B's config.json says beside the sizes, in its order. A file may lack any of it. The
// code that auto_map names is taken from there too: a folder of ours holds none.
constexpr const char* kTemplate = R"({
  "activation_type": "silu",
  "alibi": false,
  "alibi_bias_max": 8.0,
  "architectures": ["LLaDAModelLM"],
  "attention_dropout": 0.0,
  "attention_layer_norm": false,
  "attention_layer_norm_with_affine": true,
  "auto_map": {
    "AutoConfig": "GSAI-ML/LLaDA-8B-Base--configuration_llada.LLaDAConfig",
    "AutoModelForCausalLM": "GSAI-ML/LLaDA-8B-Base--modeling_llada.LLaDAModelLM",
    "AutoModel": "GSAI-ML/LLaDA-8B-Base--modeling_llada.LLaDAModelLM"
  },
  "bias_for_layer_norm": false,
  "block_group_size": 1,
  "block_type": "llama",
  "d_model": 0,
  "embedding_dropout": 0.0,
  "embedding_size": 0,
  "eos_token_id": null,
  "flash_attention": false,
  "include_bias": false,
  "include_qkv_bias": false,
  "init_cutoff_factor": null,
  "init_device": "cpu",
  "init_fn": "mitchell",
  "init_std": 0.02,
  "input_emb_norm": false,
  "layer_norm_type": "rms",
  "layer_norm_with_affine": true,
  "mask_token_id": null,
  "max_sequence_length": 0,
  "mlp_hidden_size": 0,
  "mlp_ratio": 4,
  "model_type": "llada",
  "multi_query_attention": null,
  "n_heads": 0,
  "n_kv_heads": 0,
  "n_layers": 0,
  "pad_token_id": null,
  "precision": "amp_bf16",
  "residual_dropout": 0.0,
  "rms_norm_eps": 1e-05,
  "rope": true,
  "rope_full_precision": true,
  "rope_theta": 10000.0,
  "scale_logits": false,
  "transformers_version": "4.46.3",
  "use_cache": false,
  "vocab_size": 0,
  "weight_tying": false
})";

// Keys that decide what is computed, and the one value this program computes.
struct Fixed {
  const char* key;
  const char* value;  // JSON
  bool assumed;       // LLaDA's own code would take a missing key for something else
};
constexpr Fixed kFixed[] = {
    {"model_type", "\"llada\"", false},
    {"block_type", "\"llama\"", true},
    {"activation_type", "\"silu\"", true},
    {"layer_norm_type", "\"rms\"", true},
    {"layer_norm_with_affine", "true", false},
    {"rope", "true", true},
    {"alibi", "false", false},
    {"include_bias", "false", true},
    {"include_qkv_bias", "false", false},
    {"bias_for_layer_norm", "false", false},
    {"attention_layer_norm", "false", false},
    {"input_emb_norm", "false", false},
    {"scale_logits", "false", false},
    {"block_group_size", "1", false},
    {"clip_qkv", "null", false},
};

class Keys {
 public:
  Keys(const Json& json, const std::string& file) : json_(json), file_(file) {}

  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }
  std::int64_t integer(const char* key) const {
    CHECK(has(key), file_, ": has no ", key);
    const Json& v = json_[key];
    CHECK(v.is_number_integer(), file_, ": ", key, " = ", shown(v.dump()), " is not an integer");
    return v.get<std::int64_t>();
  }
  std::int64_t integer(const char* key, std::int64_t otherwise) const {
    return has(key) ? integer(key) : otherwise;
  }
  double number(const char* key, double otherwise) const {
    if (!has(key)) return otherwise;
    const Json& v = json_[key];
    CHECK(v.is_number(), file_, ": ", key, " = ", shown(v.dump()), " is not a number");
    return v.get<double>();
  }
  bool flag(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    const Json& v = json_[key];
    CHECK(v.is_boolean(), file_, ": ", key, " = ", shown(v.dump()), " is neither true nor false");
    return v.get<bool>();
  }
  /// A token id, or one of a list of them (the first), or -1.
  std::int64_t token(const char* key) const {
    if (has(key) && json_[key].is_array() && !json_[key].empty() &&
        json_[key][0].is_number_integer())
      return json_[key][0].get<std::int64_t>();
    return integer(key, -1);
  }

 private:
  const Json& json_;
  const std::string& file_;
};

void check_fixed(const Json& json, const Keys& keys, const std::string& file) {
  std::string assumed;
  for (const Fixed& fixed : kFixed) {
    const Json wanted = Json::parse(fixed.value);
    if (keys.has(fixed.key))
      CHECK(json[fixed.key] == wanted, file, ": ", fixed.key, " = ", shown(json[fixed.key].dump()),
            " is not supported; this program's model has ", fixed.key, " = ", fixed.value);
    else if (fixed.assumed)
      assumed += (assumed.empty() ? "" : ", ") + str(fixed.key, " = ", fixed.value);
  }
  if (!assumed.empty()) log_warning(file + ": does not say, so this is assumed: " + assumed);
}

/// The keys that say what a model is, with their values.
Json sizes_of(const ModelConfig& model) {
  const auto token = [](std::int64_t id) { return id >= 0 ? Json(id) : Json(nullptr); };
  return {{"d_model", model.hidden_size},
          {"embedding_size", model.vocab_size},
          {"eos_token_id", token(model.eos_token)},
          {"mask_token_id", token(model.mask_token)},
          {"max_sequence_length", model.max_seq_length},
          {"mlp_hidden_size", model.intermediate_size},
          {"n_heads", model.num_heads},
          {"n_kv_heads", model.kv_heads()},
          {"n_layers", model.num_layers},
          {"pad_token_id", token(model.pad_token)},
          {"rms_norm_eps", model.rms_norm_eps},
          {"rope_theta", model.rope_theta},
          {"vocab_size", model.vocab_size},
          {"weight_tying", model.tie_embeddings}};
}

}  // namespace

ModelConfig model_config_from_hugging_face(const std::string& text, const std::string& file) {
  const Json json = parse_json_object<Json>(text, file);
  const Keys keys(json, file);
  check_fixed(json, keys, file);
  ModelConfig m;
  m.num_layers = keys.integer("n_layers");
  m.hidden_size = keys.integer("d_model");
  m.num_heads = keys.integer("n_heads");
  const bool single = keys.flag("multi_query_attention", false);
  m.num_kv_heads = keys.integer("n_kv_heads", single ? 1 : m.num_heads);
  CHECK(!single || m.num_kv_heads == 1, file,
        ": multi_query_attention = true contradicts n_kv_heads = ", m.num_kv_heads);
  const double ratio = keys.number("mlp_ratio", 4);
  CHECK(ratio > 0 && ratio < 1000, file, ": mlp_ratio = ", ratio, " is not a sensible ratio");
  m.intermediate_size =
      keys.integer("mlp_hidden_size", std::llround(ratio * double(m.hidden_size)));
  m.max_seq_length = keys.integer("max_sequence_length");
  // The embedding may have more rows than the vocabulary, so that they divide well.
  m.vocab_size = keys.integer(keys.has("embedding_size") ? "embedding_size" : "vocab_size");
  m.rope_theta = keys.number("rope_theta", 10000);
  m.rms_norm_eps = keys.number("rms_norm_eps", 1e-5);
  m.tie_embeddings = keys.flag("weight_tying", false);
  m.mask_token = keys.token("mask_token_id");
  m.eos_token = keys.token("eos_token_id");
  m.pad_token = keys.token("pad_token_id");
  CHECK(m.vocab_size > 0, file, ": a vocabulary of ", m.vocab_size, " ids");
  try {
    validate(m);
  } catch (const Error& e) {  // it speaks of this program's keys; the file is what is wrong
    fail(file + ": " + e.what());
  }
  return m;
}

std::string model_config_to_hugging_face(const ModelConfig& model, const std::string& original) {
  CHECK(model.attention == Attention::bidirectional,
        "a model with attention = ", word_of(model.attention),
        " has no counterpart among LLaDA's, whose attention is bidirectional");
  Json sizes = sizes_of(model);
  if (original.empty()) {
    Json json = Json::parse(kTemplate);
    for (auto& [key, value] : sizes.items()) json[key] = value;
    return json.dump(2) + "\n";
  }
  const std::string file = "the config.json kept from the import";
  const Json before = sizes_of(model_config_from_hugging_face(original, file));
  if (before == sizes) return original;
  Json json = parse_json_object<Json>(original, file);
  for (auto& [key, value] : sizes.items())
    if (before[key] != value) json[key] = value;
  return json.dump(2) + "\n";
}

std::vector<TensorInfo> hugging_face_tensors(const ModelConfig& m, DType dtype) {
  std::vector<TensorInfo> tensors;
  for (const ModelWeight& w : model_weights(m)) tensors.push_back({w.name, w.shape, dtype});
  return tensors;
}

}  // namespace lacuna
