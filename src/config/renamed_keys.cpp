#include "config/renamed_keys.h"

namespace lacuna {
namespace {

struct Renaming {
  std::string_view old_section, old_key, section, key, values = {};
};

constexpr Renaming kRenamings[] = {
    {"model", "layers", "model", "num_layers"},
    {"model", "width", "model", "hidden_size"},
    {"model", "heads", "model", "num_heads"},
    {"model", "kv_heads", "model", "num_kv_heads"},
    {"model", "ffn_width", "model", "intermediate_size"},
    {"model", "max_length", "model", "max_seq_length"},
    {"model", "norm_eps", "model", "rms_norm_eps"},
    {"model", "tied_embeddings", "model", "tie_embeddings"},
    {"parallel", "tensor", "parallel", "tensor_parallel"},
    {"parallel", "split_rows", "parallel", "sequence_parallel"},
    {"parallel", "zero", "parallel", "zero_stage"},
    {"parallel", "device", "compute", "device"},
    {"parallel", "dtype", "compute", "dtype"},
    {"parallel", "threads", "compute", "threads"},
    {"parallel", "tune_products", "compute", "tune_gemms"},
    {"parallel", "attention_kernels", "compute", "attention_kernels"},
    {"sft", "lora_rank", "lora", "rank"},
    {"sft", "lora_alpha", "lora", "alpha"},
    {"sft", "lora_targets", "lora", "targets"},
    {"sampler", "random_remasking", "sampler", "remasking", "true: \"random\""},
};

}  // namespace

std::optional<KeyName> renamed_key(std::string_view section, std::string_view key) {
  for (const Renaming& r : kRenamings)
    if (r.old_section == section && r.old_key == key)
      return KeyName{std::string(r.section), std::string(r.key), std::string(r.values)};
  return std::nullopt;
}

std::string_view renamed_word(std::string_view key, std::string_view word) {
  return key == "model.attention" && word == "full" ? "bidirectional" : word;
}

}  // namespace lacuna
