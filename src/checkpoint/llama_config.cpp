#include "checkpoint/hugging_face_keys.h"
#include "checkpoint/model_family.h"

namespace lacuna {
namespace {

using LlamaJson = nlohmann::ordered_json;

// What decides what is computed. attention_bias would add one to the output projection as well.
constexpr FixedKey kLlamaFixed[] = {
    {"hidden_act", "\"silu\"", true},       {"attention_bias", "false", false},
    {"mlp_bias", "false", false},           {"use_sliding_window", "false", false},
    {"partial_rotary_factor", "1", false},  {"use_mrope", "false", false},
    {"quantization_config", "null", false},
};

// Of mixtures of experts. LLaDA-MoE's code has parts for what these keys turn on, but for the score
// function and the factor, which it ignores as it does norm_topk_prob.
constexpr FixedKey kMixtureFixed[] = {
    {"qk_layernorm", "true", true},
    {"shared_expert_intermediate_size", "null", false},
    {"moe_router_enable_expert_bias", "false", false},
    {"moe_router_score_function", "\"softmax\"", false},
    {"routed_scaling_factor", "1", false},
    {"clip_qkv", "null", false},
};

/// Each block has experts.
void check_expert_layers(const HuggingFaceKeys& keys) {
  if (!keys.has("moe_layer_freq")) return;
  const LlamaJson& layers = keys.json()["moe_layer_freq"];
  CHECK(layers.is_array(), keys.file(), ": moe_layer_freq = ", shown(layers.dump()),
        " is not a list");
  for (const LlamaJson& layer : layers)
    CHECK(layer == 1, keys.file(), ": moe_layer_freq has ", shown(layer.dump()),
          "; this program's model has experts in every layer, 1");
}

/// The object that says how positions are rotated: rope_scaling, or rope_parameters, which newer
/// versions of transformers write in its place; null where there is neither.
const LlamaJson* rope_object(const HuggingFaceKeys& keys) {
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!keys.has(key)) continue;
    const LlamaJson& rope = keys.json()[key];
    CHECK(rope.is_object(), keys.file(), ": ", key, " = ", shown(rope.dump()), " is not an object");
    for (const char* kind : {"rope_type", "type"})
      CHECK(!rope.contains(kind) || rope[kind] == "default", keys.file(), ": ", key, ".", kind,
            " = ", shown(rope[kind].dump()),
            " is not supported; this program's model has \"default\", positions without scaling");
    return &rope;
  }
  return nullptr;
}

double rope_theta_of(const HuggingFaceKeys& keys) {
  const LlamaJson* const rope = rope_object(keys);
  if (rope && rope->contains("rope_theta")) {
    const LlamaJson& theta = (*rope)["rope_theta"];
    CHECK(theta.is_number(), keys.file(), ": rope_theta = ", shown(theta.dump()),
          " is not a number");
    return theta.get<double>();
  }
  return keys.number("rope_theta", 10000);
}

void check_layer_types(const HuggingFaceKeys& keys) {
  if (!keys.has("layer_types")) return;
  const LlamaJson& types = keys.json()["layer_types"];
  CHECK(types.is_array(), keys.file(), ": layer_types = ", shown(types.dump()), " is not a list");
  for (const LlamaJson& type : types)
    CHECK(type == "full_attention", keys.file(), ": layer_types has ", shown(type.dump()),
          "; this program's model has \"full_attention\" alone");
}

}  // namespace

ModelConfig model_of_llama_keys(const HuggingFaceKeys& keys, const ModelFamily& family) {
  check_fixed(keys, kLlamaFixed);
  check_layer_types(keys);
  ModelConfig m;
  m.attention = family.attention;
  m.qkv_bias = family.qkv_bias;
  m.qk_norm = family.qk_norm;
  m.logits_shift = family.logits_shift;
  m.num_layers = keys.integer("num_hidden_layers");
  m.hidden_size = keys.integer("hidden_size");
  m.num_heads = keys.integer("num_attention_heads");
  m.num_kv_heads = keys.integer("num_key_value_heads", m.num_heads);
  m.head_dim = keys.integer("head_dim", 0);
  CHECK(!keys.has("head_dim") || m.head_dim > 0, keys.file(), ": head_dim = ", m.head_dim,
        " must be at least 1");
  if (m.num_heads > 0 && m.head_dim * m.num_heads == m.hidden_size) m.head_dim = 0;
  if (family.has_experts()) {
    check_fixed(keys, kMixtureFixed);
    check_expert_layers(keys);
    m.num_experts = keys.integer("num_experts");
    m.num_experts_per_tok = keys.integer("num_experts_per_tok");
    CHECK(m.num_experts > 0, keys.file(), ": num_experts = ", m.num_experts, " must be at least 1");
  }
  m.intermediate_size =
      keys.integer(family.has_experts() ? family.expert_size_key : "intermediate_size");
  m.max_seq_length = keys.integer("max_position_embeddings");
  m.vocab_size = keys.integer("vocab_size");
  m.rope_theta = rope_theta_of(keys);
  m.rms_norm_eps = keys.number("rms_norm_eps", 1e-6);
  m.tie_embeddings = keys.flag("tie_word_embeddings", false);
  if (family.block_size_key) m.block_size = keys.integer(family.block_size_key, family.block_size);
  m.mask_token = keys.token("mask_token_id");
  m.eos_token = keys.token("eos_token_id");
  m.pad_token = keys.token("pad_token_id");
  return m;
}

nlohmann::ordered_json llama_keys_of(const ModelConfig& model, const ModelFamily& family) {
  LlamaJson keys = {{"eos_token_id", token_key(model.eos_token)},
                    {"hidden_size", model.hidden_size},
                    {"mask_token_id", token_key(model.mask_token)},
                    {"max_position_embeddings", model.max_seq_length},
                    {"num_attention_heads", model.num_heads},
                    {"num_hidden_layers", model.num_layers},
                    {"num_key_value_heads", model.kv_heads()},
                    {"pad_token_id", token_key(model.pad_token)},
                    {"rms_norm_eps", model.rms_norm_eps},
                    {"rope_theta", model.rope_theta},
                    {"tie_word_embeddings", model.tie_embeddings},
                    {"vocab_size", model.vocab_size}};
  if (family.has_experts()) {
    keys[family.expert_size_key] = model.intermediate_size;
    keys["num_experts"] = model.num_experts;
    keys["num_experts_per_tok"] = model.num_experts_per_tok;
  } else {
    keys["head_dim"] = model.head_width();
    keys["intermediate_size"] = model.intermediate_size;
  }
  if (family.block_size_key) keys[family.block_size_key] = model.block_size;
  return keys;
}

nlohmann::ordered_json llama_template(const ModelFamily& family) {
  LlamaJson json = {{"architectures", {family.architecture}},
                    {"attention_dropout", 0.0},
                    {"hidden_act", "silu"},
                    {"initializer_range", 0.02},
                    {"model_type", family.model_type},
                    {"rope_scaling", nullptr},
                    {"use_cache", true}};
  if (!family.qkv_bias) json["attention_bias"] = false;
  if (family.has_experts()) {
    json["moe_router_enable_expert_bias"] = false;
    json["moe_router_score_function"] = "softmax";
    json["norm_topk_prob"] = false;
    json["partial_rotary_factor"] = 1.0;
    json["qk_layernorm"] = true;
    json["routed_scaling_factor"] = 1;
    json["shared_expert_intermediate_size"] = nullptr;
  }
  return json;
}

}  // namespace lacuna
