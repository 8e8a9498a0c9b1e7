#pragma once
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "config/config.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/weights.h"
#include "tests/app/byte_tokenizer.h"
#include "tokenizer/tokenizer.h"

namespace lacuna::testing {

/// A model whose logits are the same at every position of every text, so that its likelihoods and
/// what it generates are known by hand: its blocks add nothing, and its embedding says nothing.
class ConstantModel {
 public:
  /// The byte tokenizer's tokens (byte_tokenizer.h) and `words`, each one token. Logits are 0, but
  /// for the words'.
  explicit ConstantModel(const std::map<std::string, float>& words = {},
                         std::int64_t max_length = 64)
      : tokenizer(Tokenizer::from_json(json_with(words), "t.json")),
        config(config_of(tokenizer, max_length)),
        ops(1),
        weights(ops.memory(), config, "weights") {
    for (std::int64_t id = 0; id < config.vocab_size; ++id)
      weights.embedding.as<float>()[id * config.hidden_size] = 1;
    for (const Tensor& norm :
         {weights.blocks[0].attention_norm, weights.blocks[0].ffn_norm, weights.final_norm})
      std::fill_n(norm.as<float>(), config.hidden_size, 1.0f);
    for (const auto& [word, logit] : words) set_logit(*tokenizer.id_of(word), logit);
  }

  void set_logit(std::int32_t id, float logit) const {
    // What RMSNorm makes of (1, 0, …).
    const double hidden = 1 / std::sqrt(1 / double(config.hidden_size) + config.rms_norm_eps);
    weights.head.as<float>()[id * config.hidden_size] = float(double(logit) / hidden);
  }
  void break_weights() const {
    weights.final_norm.as<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  }

  Tokenizer tokenizer;
  ModelConfig config;
  CpuOps ops;
  ModelTensors weights;

 private:
  static std::string json_with(const std::map<std::string, float>& words) {
    nlohmann::json json = nlohmann::json::parse(byte_tokenizer_json());
    int id = kByteEnd;
    for (const auto& [word, logit] : words)
      json["added_tokens"].push_back({{"id", ++id},
                                      {"content", word},
                                      {"single_word", false},
                                      {"lstrip", false},
                                      {"rstrip", false},
                                      {"normalized", false},
                                      {"special", false}});
    return json.dump();
  }
  static ModelConfig config_of(const Tokenizer& tokenizer, std::int64_t max_length) {
    ModelConfig c;
    c.vocab_size = tokenizer.vocab_size();
    c.num_layers = 1;
    c.hidden_size = 8;
    c.num_heads = 1;
    c.intermediate_size = 8;
    c.max_seq_length = max_length;
    c.mask_token = kByteMask;
    c.eos_token = kByteEnd;
    return c;
  }
};

}  // namespace lacuna::testing
