#pragma once
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "kernels/cpu/cpu_ops.h"
#include "model_io/loaded_model.h"
#include "server/api_server.h"
#include "tests/model/support.h"
#include "tests/support/support.h"

namespace lacuna::testing {

// Ids of the characters ' ' to '~' from 0 on, and behind them:
inline constexpr std::int32_t kNewline = 95, kServedMask = 96, kServedEnd = 97, kServedTokens = 98;

/// tokenizer.json of a token for each byte, of which the model knows those of printable ASCII.
inline std::string character_tokenizer_json() {
  std::string vocab, added;
  int unknown = kServedTokens, escape = 256;
  for (int byte = 0; byte < 256; ++byte) {
    // The byte alphabet of GPT-2.
    const bool itself = (byte > ' ' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
    char name[16];
    std::snprintf(name, sizeof name, "\\u%04x", unsigned(itself ? byte : escape++));
    const int id = byte >= ' ' && byte <= '~' ? byte - ' ' : byte == '\n' ? kNewline : unknown++;
    vocab += str(byte ? "," : "", "\"", name, "\":", id);
  }
  for (const auto& [id, text] :
       {std::pair(kServedMask, "<|mdm_mask|>"), std::pair(kServedEnd, "<|endoftext|>")}) {
    vocab += str(",\"", text, "\":", id);
    added += str(added.empty() ? "" : ",", R"({"id":)", id, R"(,"content":")", text,
                 R"(","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,)",
                 R"("special":true})");
  }
  return R"({"version":"1.0","added_tokens":[)" + added +
         R"(],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,)" +
         R"("trim_offsets":true,"use_regex":true},"post_processor":null,"decoder":{"type":)" +
         R"("ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},"model":)" +
         R"({"type":"BPE","vocab":{)" + vocab + R"(},"merges":[]}})";
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
    info.tokenizer = character_tokenizer_json();
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

}  // namespace lacuna::testing
