#pragma once
#include "config/config.h"
#include "tests/support/golden.h"

namespace lacuna::testing {

/// The extents of the model that a golden file describes.
inline ModelConfig golden_extents(const Golden& golden) {
  const auto number = [&](const char* key) { return std::stoll(golden.metadata(key)); };
  ModelConfig c;
  c.vocab_size = number("vocab_size");
  c.num_layers = number("layers");
  c.hidden_size = number("width");
  c.num_heads = number("heads");
  c.num_kv_heads = number("kv_heads");
  c.intermediate_size = number("ffn_width");
  return c;
}

}  // namespace lacuna::testing
