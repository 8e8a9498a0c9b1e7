#pragma once
#include <span>
#include <string>

#include "checkpoint/gguf_reader.h"
#include "config/config.h"

namespace lacuna {

/// What llama.cpp calls a kind of models, in general.architecture and before the keys of its sizes,
/// and what its code knows of it.
struct GgufArchitecture {
  const char* name;
  Attention attention;  // where attention.causal does not say otherwise
  GgufRowOrder order;
  bool qkv_bias = false, qk_norm = false;
  bool logits_shift = false;    // where diffusion.shift_logits does not say otherwise
  bool experts = false;         // each feed-forward is a mixture of experts
  bool norm_topk_prob = false;  // and their weights are divided by their sum
};

std::span<const GgufArchitecture> gguf_architectures();
/// Error, naming `file` and the known ones, for another.
const GgufArchitecture& gguf_architecture(const std::string& name, const std::string& file);
/// The one of a model. Error, naming `file`, for a model that is none's.
const GgufArchitecture& gguf_architecture(const ModelConfig& model, const std::string& file);

}  // namespace lacuna
