#include "checkpoint/model_family.h"

#include <array>

#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

constexpr std::array kFamilies = {
    ModelFamily{"LLaDA", "llada", "LLaDAModelLM", NameScheme::llada, Attention::bidirectional},
    ModelFamily{"LLaDA-MoE", "llada", "LLaDAMoEModelLM", NameScheme::llama,
                Attention::bidirectional, /*qkv_bias=*/false, /*qk_norm=*/true,
                /*logits_shift=*/false, nullptr, 0, "expert_intermediate_size", "LLaDAMoEModel"},
    ModelFamily{"Dream", "Dream", "DreamModel", NameScheme::llama, Attention::bidirectional,
                /*qkv_bias=*/true, /*qk_norm=*/false, /*logits_shift=*/true},
    ModelFamily{"Fast-dLLM v2", "Fast_dLLM_Qwen", "Fast_dLLM_QwenForCausalLM", NameScheme::llama,
                Attention::block_causal, /*qkv_bias=*/true, /*qk_norm=*/false,
                /*logits_shift=*/true, "bd_size", 32},
    ModelFamily{"SDAR", "sdar", "SDARForCausalLM", NameScheme::llama, Attention::block_causal,
                /*qkv_bias=*/false, /*qk_norm=*/true, /*logits_shift=*/false, "block_size", 4},
    ModelFamily{"Qwen3", "qwen3", "Qwen3ForCausalLM", NameScheme::llama, Attention::causal,
                /*qkv_bias=*/false, /*qk_norm=*/true},
    ModelFamily{"Qwen2", "qwen2", "Qwen2ForCausalLM", NameScheme::llama, Attention::causal,
                /*qkv_bias=*/true},
    ModelFamily{"LLaMA", "llama", "LlamaForCausalLM", NameScheme::llama, Attention::causal},
};

std::string known_families() {
  std::string known;
  for (const ModelFamily& f : kFamilies)
    known += str(known.empty() ? "" : ", ", f.name, " (", f.architecture, ")");
  return known;
}

/// The word a key has; "" where it has none.
std::string word(const nlohmann::ordered_json& json, const std::string& file, const char* key) {
  if (!json.contains(key) || json[key].is_null()) return "";
  CHECK(json[key].is_string(), file, ": ", key, " = ", shown(json[key].dump()), " is not a string");
  return json[key].get<std::string>();
}

}  // namespace

bool ModelFamily::is_called(const nlohmann::ordered_json& named) const {
  return named == architecture || (other_architecture && named == other_architecture);
}

std::span<const ModelFamily> model_families() { return kFamilies; }

const ModelFamily& family_of(const nlohmann::ordered_json& config, const std::string& file) {
  const auto architectures = config.find("architectures");
  if (architectures != config.end() && architectures->is_array() && !architectures->empty()) {
    for (const nlohmann::ordered_json& named : *architectures)
      for (const ModelFamily& family : kFamilies)
        if (family.is_called(named)) return family;
    fail(str(file, ": architectures = ", shown(architectures->dump()),
             " is of no known family; known are ", known_families()));
  }
  const std::string type = word(config, file, "model_type");
  if (type.empty()) return kFamilies.front();
  const auto experts = config.find("num_experts");
  const bool has_experts = experts != config.end() && !experts->is_null();
  for (const ModelFamily& family : kFamilies)  // LLaDA and LLaDA-MoE have one model_type
    if (type == family.model_type && has_experts == family.has_experts()) return family;
  fail(str(file, ": model_type = ", shown(config["model_type"].dump()),
           " is of no known family; known are ", known_families()));
}

std::string traits_of(const ModelConfig& m) {
  const auto flag = [](const char* key, bool set) { return set ? str(", ", key) : ""; };
  return str("attention = ", word_of(m.attention), flag("qkv_bias", m.qkv_bias),
             flag("qk_norm", m.qk_norm), flag("logits_shift", m.logits_shift),
             flag("causal_context", m.causal_context),
             m.has_experts() ? str(", num_experts = ", m.num_experts) : "",
             flag("norm_topk_prob", m.norm_topk_prob));
}

bool fits(const ModelFamily& family, const ModelConfig& model) {
  if (family.attention != model.attention || family.qk_norm != model.qk_norm ||
      family.logits_shift != model.logits_shift || model.causal_context ||
      family.has_experts() != model.has_experts())
    return false;
  // LLaDA-MoE's code does not divide the weights of experts by their sum, and its heads divide the
  // width evenly.
  if (family.has_experts() && (model.norm_topk_prob || model.head_dim != 0)) return false;
  // LLaDA's config.json says whether there are biases, but not how wide a head is.
  return family.tensors == NameScheme::llada ? model.head_dim == 0
                                             : family.qkv_bias == model.qkv_bias;
}

const ModelFamily& family_of(const ModelConfig& model) {
  for (const ModelFamily& family : kFamilies)
    if (fits(family, model)) return family;
  fail(str("a model with ", traits_of(model),
           " is of no family with a Hugging Face layout; there are ", known_families()));
}

}  // namespace lacuna
