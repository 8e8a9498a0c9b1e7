#include "training/flops.h"

namespace lacuna {
namespace {

/// `per_weight`: operations per weight and row; `attention`: per pair of query and key, over the
/// width.
double product_flops(const ModelConfig& m, std::int64_t sequences, std::int64_t length,
                     std::int64_t predicted, double per_weight, double attention) {
  const auto C = double(m.hidden_size), F = double(m.intermediate_size), V = double(m.vocab_size);
  const double N = double(sequences) * double(length), M = double(predicted);
  const double full_blocks = double(m.num_layers - 1);
  const double key_value = 2 * C * double(m.kv_heads() * m.head_dim());
  const double rest = 2 * C * C + 3 * C * F;
  const double keys = m.attention == Attention::causal ? (double(length) + 1) / 2 : double(length);
  const double weights =
      N * full_blocks * (rest + key_value) + N * key_value + M * rest + M * V * C;
  return per_weight * weights + attention * C * (N * full_blocks + M) * keys;
}

}  // namespace

double training_flops(const ModelConfig& model, std::int64_t sequences, std::int64_t length,
                      std::int64_t predicted) {
  return product_flops(model, sequences, length, predicted, 6, 12);
}

double executed_flops(const ModelConfig& model, std::int64_t sequences, std::int64_t length,
                      std::int64_t predicted) {
  return product_flops(model, sequences, length, predicted, 6, 14);
}

double forward_flops(const ModelConfig& model, std::int64_t sequences, std::int64_t length,
                     std::int64_t predicted) {
  return product_flops(model, sequences, length, predicted, 2, 4);
}

}  // namespace lacuna
