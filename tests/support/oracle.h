#pragma once
#include <cmath>
#include <string>
#include <vector>

#include "core/philox.h"
#include "kernels/cpu/cpu_ops.h"
#include "model/weights.h"
#include "tests/model/support.h"
#include "tests/support/golden_model.h"

namespace lacuna::testing {

/// The model a golden file describes; its special tokens where it has them.
inline ModelConfig golden_config(const Golden& golden, bool causal) {
  const auto number = [&](const char* key) { return std::stoll(golden.metadata(key)); };
  ModelConfig c = golden_extents(golden);
  c.tie_embeddings = number("tied") != 0;
  c.mask_token = number("mask_token");
  c.attention = causal ? Attention::causal : Attention::bidirectional;
  c.max_seq_length = 64;
  return c;
}
inline void read_weights(const Golden& golden, const std::string& prefix, ModelTensors& weights) {
  for (const NamedWeight& w : weights.named()) cpu().copy(w.tensor, golden[prefix + w.name]);
}

/// A model whose answer is known: whatever it sees, the logits of a masked row are `logits` (one
/// more for the mask token itself, which is last and gets -1e4). Attention and feed-forward add
/// nothing; the mask's embedding is (1, 0, 0, 0), so that the final norm of it is
/// (1 / sqrt(1/4 + eps), 0, 0, 0), and the head's first column does the rest.
struct Oracle {
  ModelConfig config;
  ModelTensors weights;

  explicit Oracle(const std::vector<double>& logits, Attention attention = Attention::bidirectional)
      : config(make_config(std::int64_t(logits.size()) + 1, attention)),
        weights(cpu().memory(), config, "weights") {
    cpu().fill(weights.final_norm, 1);
    for (BlockTensors& block : weights.blocks) {
      cpu().fill(block.attention_norm, 1);
      cpu().fill(block.ffn_norm, 1);
    }
    // A causal model sees ordinary tokens: they all look the same.
    for (std::int64_t v = 0; v < config.vocab_size; ++v)
      weights.embedding.as<float>()[v * config.hidden_size] = 1;
    const double scale = std::sqrt(0.25 + config.rms_norm_eps);
    for (std::size_t v = 0; v < logits.size(); ++v)
      weights.head.as<float>()[v * std::size_t(config.hidden_size)] = float(logits[v] * scale);
    weights.head.as<float>()[logits.size() * std::size_t(config.hidden_size)] = float(-1e4 * scale);
  }

 private:
  static ModelConfig make_config(std::int64_t vocab_size, Attention attention) {
    ModelConfig c;
    c.vocab_size = vocab_size;
    c.num_layers = 1;
    c.hidden_size = 4;
    c.num_heads = 1;
    c.intermediate_size = 4;
    c.max_seq_length = 4096;
    c.mask_token = vocab_size - 1;
    c.attention = attention;
    return c;
  }
};

/// softmax(logits / temperature).
inline std::vector<double> probabilities(const std::vector<double>& logits, double temperature) {
  std::vector<double> p;
  double sum = 0;
  for (const double l : logits) sum += std::exp(l / temperature);
  for (const double l : logits) p.push_back(std::exp(l / temperature) / sum);
  return p;
}

/// Whether `count` of n draws, each a success with probability p, is within 5 standard deviations
/// (a chance of 6e-7 to be wrong).
inline ::testing::AssertionResult plausible(std::int64_t count, std::int64_t n, double p) {
  const double expected = double(n) * p, deviation = std::sqrt(double(n) * p * (1 - p));
  if (std::abs(double(count) - expected) <= 5 * deviation) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << count << " of " << n << " where " << expected << " +- " << deviation << " is expected";
}

}  // namespace lacuna::testing
