#pragma once
#include "checkpoint/hugging_face.h"
#include "core/atomic_file.h"
#include "tests/checkpoint/support.h"

namespace lacuna::testing {

/// A LLaDA config.json in a hand of its own (spacing, keys unknown to us), which an export must
/// keep to the byte.
inline constexpr const char* kLladaConfig =
    R"({ "model_type":"llada","architectures": ["LLaDAModelLM"],
  "activation_type": "silu", "block_type": "llama", "layer_norm_type": "rms", "rope": true,
  "alibi": false, "include_bias": false, "d_model": 8, "n_heads": 4,
      "n_kv_heads": 2, "n_layers": 2, "mlp_hidden_size": 12, "mlp_ratio": 4,
  "max_sequence_length": 64, "vocab_size": 10, "embedding_size": 16, "rope_theta": 500000.0,
  "rms_norm_eps": 1e-05, "weight_tying": false, "mask_token_id": 9, "eos_token_id": 8,
  "pad_token_id": 8, "an_unknown_key": {"deep": [1.0, 2e3]}, "torch_dtype": "bfloat16" })";

inline constexpr const char* kTokenizer = R"({"version": "1.0", "added_tokens": [
  {"id": 7, "content": "<|startoftext|>", "special": true},
  {"id": 8, "content": "<|endoftext|>", "special": true},
  {"id": 9, "content": "<|mdm_mask|>", "special": true}],
  "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})";

/// A folder as Hugging Face holds LLaDA: weights of random bits, config, tokenizer, companions.
struct LladaFolder {
  explicit LladaFolder(DType dtype, std::int64_t shard_bytes = kShardBytes,
                       const std::string& config = kLladaConfig) {
    folder.write("config.json", config);
    folder.write("tokenizer.json", kTokenizer);
    folder.write("generation_config.json", "{ \"_from_model_config\":true }");
    folder.write("modeling_llada.py", "# code\n");
    folder.write("README.md", "not kept");
    model = model_config_from_hugging_face(config, "config.json");
    const std::vector<TensorInfo> infos = hugging_face_tensors(model, dtype);
    for (const TensorInfo& info : infos)
      tensors.push_back({info.name, own.random(info.shape, dtype)});
    write_safetensors_sharded(
        folder / ".", infos, {{"format", "pt"}},
        [&](std::size_t i, const Tensor& out) {
          std::memcpy(out.data, tensors[i].tensor.data, std::size_t(out.bytes()));
        },
        shard_bytes);
  }
  std::string path() const { return folder / "."; }

  Folder folder;
  ModelConfig model;
  Tensors own{3};
  std::vector<NamedTensor> tensors;
};

}  // namespace lacuna::testing
