#include <cmath>

#include "checkpoint/hugging_face_keys.h"

namespace lacuna {
namespace {

// What LLaDA-8B's config.json says beside the sizes, in its order. A file may lack any of it. The
// code that auto_map names is taken from there too: a folder of ours holds none.
constexpr const char* kLladaTemplate = R"({
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

// What decides what is computed.
constexpr FixedKey kLladaFixed[] = {
    {"block_type", "\"llama\"", true},
    {"activation_type", "\"silu\"", true},
    {"layer_norm_type", "\"rms\"", true},
    {"layer_norm_with_affine", "true", false},
    {"rope", "true", true},
    {"alibi", "false", false},
    {"include_bias", "false", true},
    {"bias_for_layer_norm", "false", false},
    {"attention_layer_norm", "false", false},
    {"input_emb_norm", "false", false},
    {"scale_logits", "false", false},
    {"block_group_size", "1", false},
    {"clip_qkv", "null", false},
};

}  // namespace

ModelConfig model_of_llada_keys(const HuggingFaceKeys& keys) {
  check_fixed(keys, kLladaFixed);
  const std::string& file = keys.file();
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
  m.qkv_bias = keys.flag("include_qkv_bias", false);
  m.mask_token = keys.token("mask_token_id");
  m.eos_token = keys.token("eos_token_id");
  m.pad_token = keys.token("pad_token_id");
  return m;
}

nlohmann::ordered_json llada_keys_of(const ModelConfig& model) {
  return {{"d_model", model.hidden_size},
          {"embedding_size", model.vocab_size},
          {"eos_token_id", token_key(model.eos_token)},
          {"include_qkv_bias", model.qkv_bias},
          {"mask_token_id", token_key(model.mask_token)},
          {"max_sequence_length", model.max_seq_length},
          {"mlp_hidden_size", model.intermediate_size},
          {"n_heads", model.num_heads},
          {"n_kv_heads", model.kv_heads()},
          {"n_layers", model.num_layers},
          {"pad_token_id", token_key(model.pad_token)},
          {"rms_norm_eps", model.rms_norm_eps},
          {"rope_theta", model.rope_theta},
          {"vocab_size", model.vocab_size},
          {"weight_tying", model.tie_embeddings}};
}

nlohmann::ordered_json llada_template() { return nlohmann::ordered_json::parse(kLladaTemplate); }

}  // namespace lacuna
