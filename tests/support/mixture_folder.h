#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/hugging_face.h"
#include "core/atomic_file.h"
#include "core/philox.h"
#include "formats/safetensors.h"

// A random mixture of experts, LLaDA-MoE. Link with lacuna_checkpoint.

namespace lacuna::testing {

struct MixtureFolder {
  std::int64_t vocab_size = 40, mask = 39, end = 38;
  std::int64_t width = 32, experts = 5, each = 2;  // of the stream and of each expert
  float scale = 0.6f;                              // elements lie in [-scale / 2, scale / 2)
  /// Changes a weight before it is written.
  std::function<void(const std::string& name, const Tensor& values)> change = [](const std::string&,
                                                                                 const Tensor&) {};

  /// A Hugging Face folder, without a tokenizer.
  void write(const std::filesystem::path& folder) const {
    std::filesystem::create_directories(folder);
    const nlohmann::ordered_json config = {{"architectures", {"LLaDAMoEModel"}},
                                           {"model_type", "llada"},
                                           {"vocab_size", vocab_size},
                                           {"hidden_size", width},
                                           {"num_hidden_layers", 2},
                                           {"num_attention_heads", 4},
                                           {"max_position_embeddings", 64},
                                           {"expert_intermediate_size", width},
                                           {"num_experts", experts},
                                           {"num_experts_per_tok", each},
                                           {"hidden_act", "silu"},
                                           {"qk_layernorm", true},
                                           {"rms_norm_eps", 1e-5},
                                           {"rope_theta", 50000.0},
                                           {"mask_token_id", mask},
                                           {"eos_token_id", end}};
    write_file(folder / "config.json", config.dump());
    const ModelConfig model = model_config_from_hugging_face(config.dump(), "config.json");
    const std::vector<TensorInfo> infos =
        hugging_face_tensors(model, DType::f32, NameScheme::llama);
    write_safetensors_sharded(folder, infos, {}, [&](std::size_t i, const Tensor& out) {
      const CounterRng rng{9, Purpose::initial_weights, i};
      for (std::int64_t j = 0; j < out.count(); ++j)
        out.as<float>()[j] =
            out.shape.rank == 1 ? 1 : (rng.uniform(std::uint32_t(j)) - 0.5f) * scale;
      change(infos[i].name, out);
    });
  }
};

}  // namespace lacuna::testing
