#include "checkpoint/gguf_architecture.h"

#include <array>

#include "checkpoint/model_family.h"
#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

constexpr std::array kArchitectures = {
    GgufArchitecture{"llada", Attention::bidirectional, GgufRowOrder::pairs},
    GgufArchitecture{"llada-moe", Attention::bidirectional, GgufRowOrder::halves,
                     /*qkv_bias=*/false, /*qk_norm=*/true, /*logits_shift=*/false,
                     /*experts=*/true},
    GgufArchitecture{"dream", Attention::bidirectional, GgufRowOrder::halves, /*qkv_bias=*/true,
                     /*qk_norm=*/false, /*logits_shift=*/true},
    GgufArchitecture{"llama", Attention::causal, GgufRowOrder::pairs},
    GgufArchitecture{"qwen2", Attention::causal, GgufRowOrder::halves, /*qkv_bias=*/true},
    GgufArchitecture{"qwen3", Attention::causal, GgufRowOrder::halves, /*qkv_bias=*/false,
                     /*qk_norm=*/true},
};

std::string known_architectures() {
  std::string known;
  for (const GgufArchitecture& a : kArchitectures) known += str(known.empty() ? "" : ", ", a.name);
  return known;
}

}  // namespace

std::span<const GgufArchitecture> gguf_architectures() { return kArchitectures; }

const GgufArchitecture& gguf_architecture(const std::string& name, const std::string& file) {
  for (const GgufArchitecture& a : kArchitectures)
    if (name == a.name) return a;
  if (name == "diffuse")
    fail(str(file,
             ": general.architecture = diffuse is that of diffuse-cpp, whose files are not "
             "llama.cpp's: convert the model with llama.cpp's convert_hf_to_gguf.py, or name its "
             "Hugging Face folder"));
  fail(str(file, ": general.architecture = '", printable(name), "' is not known; known are ",
           known_architectures()));
}

const GgufArchitecture& gguf_architecture(const ModelConfig& model, const std::string& file) {
  CHECK(model.attention != Attention::block_causal, file,
        ": a model with attention = block_causal cannot be a GGUF model: llama.cpp has "
        "bidirectional and causal attention only");
  for (const GgufArchitecture& a : kArchitectures)
    if (a.attention == model.attention && a.qkv_bias == model.qkv_bias &&
        a.qk_norm == model.qk_norm && a.logits_shift == model.logits_shift &&
        a.experts == model.has_experts() && a.norm_topk_prob == model.norm_topk_prob)
      return a;
  fail(str(file, ": a model with ", traits_of(model),
           " cannot be a GGUF model; llama.cpp's are those of ", known_architectures()));
}

}  // namespace lacuna
