#pragma once
#include <optional>
#include <string>
#include <utility>

#include "core/text.h"
#include "tests/model/support.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/train.h"

namespace lacuna::testing {

/// Tokens of several characters, parts of characters, quotes within tokens, and numbers.
inline const Tokenizer& trained() {
  static const Tokenizer tokenizer = [] {
    std::string text;
    for (int i = 0; i < 40; ++i)
      text += str("{\"name\": \"Anna ", i * 37, "\", \"n\": ", i * 101,
                  ", \"über\": \"ä中 said \\\"x\\\"\"}, -0.", i, " the cat the dog\n");
    bool given = false;
    return Tokenizer::from_json(train_tokenizer(
                                    [&](std::string& piece) {
                                      piece = text;
                                      return !std::exchange(given, true);
                                    },
                                    {.vocab_size = 480, .special_tokens = {}, .threads = 1})
                                    .json,
                                "trained");
  }();
  return tokenizer;
}

struct UntrainedModel {
  UntrainedModel(const Tokenizer& tokenizer, Attention attention, bool shift) {
    config = tiny_config();
    config.vocab_size = tokenizer.vocab_size() + 3;  // rows of no token
    config.max_seq_length = 640;
    config.mask_token = tokenizer.mask_token();
    config.eos_token = tokenizer.eos_token();
    config.attention = attention;
    config.logits_shift = shift;
    if (attention == Attention::block_causal) config.block_size = 8;
    weights.emplace(cpu().memory(), config, "weights");
    randomise(*weights, 5);
  }
  ModelConfig config;
  std::optional<ModelTensors> weights;
};

}  // namespace lacuna::testing
