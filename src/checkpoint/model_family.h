#pragma once
#include <cstdint>
#include <span>
#include <string>

#include "config/config.h"
#include "core/json.h"
#include "model/weight_spec.h"

namespace lacuna {

/// A kind of models that others publish, and what its files do not say of it, because the code that
/// comes with them does.
struct ModelFamily {
  const char* name;          // "Qwen3"
  const char* model_type;    // in config.json
  const char* architecture;  // there, too: the class of its code
  NameScheme tensors;        // and the keys of its config.json: LLaDA's or LLaMA's
  Attention attention;
  bool qkv_bias = false, qk_norm = false, logits_shift = false;
  const char* block_size_key = nullptr;  // block-causal: in config.json
  std::int64_t block_size = 0;           // where config.json does not have it
  // Mixtures of experts: the key of an expert's width, and another class that files name.
  const char* expert_size_key = nullptr;
  const char* other_architecture = nullptr;

  bool has_experts() const { return expert_size_key != nullptr; }
  bool is_called(const nlohmann::ordered_json& name_of_class) const;
};

std::span<const ModelFamily> model_families();
/// The one that a config.json names by its architectures or, without these, by its model_type;
/// LLaDA where it has neither. Error, naming `file`, what it says and the known ones, for another.
const ModelFamily& family_of(const nlohmann::ordered_json& config, const std::string& file);
/// "attention = causal, qkv_bias": what tells families apart, for messages.
std::string traits_of(const ModelConfig& model);
/// Whether a model is one of the family.
bool fits(const ModelFamily& family, const ModelConfig& model);
/// The first that a model fits. Error naming what no known one has.
const ModelFamily& family_of(const ModelConfig& model);

}  // namespace lacuna
