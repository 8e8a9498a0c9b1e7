#pragma once
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "kernels/cpu/cpu_ops.h"
#include "model_io/loaded_model.h"
#include "server/api_server.h"
#include "tests/app/byte_tokenizer.h"
#include "tests/model/support.h"
#include "tests/support/support.h"

namespace lacuna::testing {

// Ids of the characters ' ' to '~' from 0 on, and behind them:
inline constexpr std::int32_t kNewline = 95, kServedMask = 96, kServedEnd = 97, kServedTokens = 98;

/// The id of a byte: the model knows those of printable ASCII and the line feed.
inline std::int32_t served_id(int byte) {
  if (byte >= ' ' && byte <= '~') return byte - ' ';
  if (byte == '\n') return kNewline;
  const int known_before = byte > '~' ? kNewline + 1 : byte > '\n' ? 1 : 0;
  return kServedTokens + byte - known_before;
}

/// A random model of characters: its texts vary, and mean nothing.
class ServedModel {
 public:
  explicit ServedModel(Attention attention) {
    Config config;
    ModelConfig& m = config.model;
    m.vocab_size = kServedTokens;
    m.num_layers = 2;
    m.hidden_size = 16;
    m.num_heads = 2;
    m.intermediate_size = 24;
    m.max_seq_length = 256;
    m.mask_token = kServedMask;
    m.eos_token = kServedEnd;
    m.attention = attention;
    if (attention == Attention::block_causal) m.block_size = 8;
    ModelTensors weights(host_memory(), m, "weights");
    randomise(weights, 5);
    CheckpointTensors tensors;
    for (const NamedWeight& w : weights.named()) tensors.model.push_back({w.name, w.tensor});
    CheckpointInfo info;
    info.config = to_toml(config);
    info.tokenizer = byte_tokenizer_json(served_id, kServedMask, kServedEnd);
    save_checkpoint(folder_ / "model.h5", info, tensors);
    model_ = std::make_unique<LoadedModel>(ModelSource(folder_ / "model.h5"),
                                           std::make_unique<CpuOps>(1), DType::f32);
  }
  const LoadedModel& operator*() const { return *model_; }
  const LoadedModel* operator->() const { return model_.get(); }
  /// With a chat template that needs no tokens of its own.
  ServiceOptions service() const {
    ServiceOptions o;
    o.model_name = "characters";
    o.chat_template = folder_.write(
        "chat.json", R"({"begin": "", "message": "{role}: {content}\n", "reply": "assistant: "})");
    return o;
  }

 private:
  Folder folder_;
  std::unique_ptr<LoadedModel> model_;
};

/// One for all tests of a program.
inline const ServedModel& bidirectional_model() {
  static const ServedModel served(Attention::bidirectional);
  return served;
}

}  // namespace lacuna::testing
