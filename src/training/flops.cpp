#include "training/flops.h"

#include "model/weight_spec.h"

namespace lacuna {
namespace {

/// `per_weight`: operations per weight and row; `attention`: per pair of query and key, over the
/// width.
double product_flops(const ModelConfig& m, std::int64_t sequences, std::int64_t length,
                     std::int64_t predicted, double per_weight, double attention) {
  const auto C = double(m.hidden_size);
  const double N = double(sequences) * double(length), M = double(predicted);
  const double full_blocks = double(m.num_layers - 1);
  double key_value = 0, rest = 0;  // elements of a block's matrices
  for (const WeightSpec& spec : weight_table()) {
    if (!spec.in_block() || spec.kind != WeightKind::matrix) continue;
    const bool by_keys = spec.role == WeightRole::key || spec.role == WeightRole::value;
    (by_keys ? key_value : rest) += double(spec.shape(m).count());
  }
  const auto head = double(weight_spec(WeightRole::head).shape(m).count());
  const double keys = m.attention == Attention::causal ? (double(length) + 1) / 2 : double(length);
  const double weights = N * full_blocks * (rest + key_value) + N * key_value + M * rest + M * head;
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
