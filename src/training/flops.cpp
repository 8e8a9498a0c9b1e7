#include "training/flops.h"

#include "model/weight_spec.h"

namespace lacuna {
namespace {

/// Pairs of a weight of the blocks' matrices and a row that it multiplies.
double weights_and_rows(const ModelConfig& m, const PassWork& work) {
  const double N = work.rows, M = work.predicted;
  double key_value = 0, rest = 0;  // elements of a block's matrices
  for (const WeightSpec& spec : weight_table()) {
    if (!spec.is_block_matrix() || !spec.is_in(m)) continue;
    const bool by_keys = spec.role == WeightRole::key || spec.role == WeightRole::value;
    const double each = spec.of_expert() ? double(m.num_experts_per_tok) : 1;
    (by_keys ? key_value : rest) += each * double(spec.shape(m).count());
  }
  return N * double(m.num_layers - 1) * (rest + key_value) + N * key_value + M * rest;
}

/// `per_weight`: operations per weight and row; `attention`: per pair of query and key, over the
/// width of all heads.
double product_flops(const ModelConfig& m, const PassWork& work, double per_weight,
                     double attention) {
  const double width = double(m.num_heads) * double(m.head_width());
  const auto head = double(weight_spec(WeightRole::head).shape(m).count());
  return per_weight * (weights_and_rows(m, work) + work.predicted * head) +
         attention * width * (double(m.num_layers - 1) * work.pairs + work.predicted_pairs);
}

/// Of recomputed_flops(), the products with matrices.
double recomputed_matrix_flops(const ModelConfig& m, const PassWork& work,
                               const Recompute& recompute) {
  double weights = 0;
  for (const WeightSpec& spec : weight_table()) {
    if (!spec.is_block_matrix() || !spec.is_in(m)) continue;
    const bool gate_up = spec.role == WeightRole::gate || spec.role == WeightRole::up,
               qkv = spec.role == WeightRole::query || spec.role == WeightRole::key ||
                     spec.role == WeightRole::value;
    const bool again = recompute.block ? spec.role != WeightRole::ffn_out
                                       : (gate_up && recompute.gate_up) || (qkv && recompute.qkv);
    if (again) weights += double(spec.shape(m).count());
  }
  return double(m.num_layers - 1) * 2 * work.rows * weights;
}

}  // namespace

PassWork& PassWork::operator+=(const PassWork& other) {
  rows += other.rows;
  predicted += other.predicted;
  pairs += other.pairs;
  predicted_pairs += other.predicted_pairs;
  return *this;
}

PassWork work_of(const ModelConfig& m, std::int64_t sequences, std::int64_t length,
                 std::int64_t predicted) {
  const double keys = m.attention == Attention::causal ? (double(length) + 1) / 2 : double(length);
  const double rows = double(sequences) * double(length);
  return {rows, double(predicted), rows * keys, double(predicted) * keys};
}

PassWork block_work_of(const ModelConfig& m, std::int64_t texts, std::int64_t length,
                       std::int64_t block_size, std::int64_t views, double predicted,
                       bool autoregressive) {
  const auto T = double(length), B = double(block_size), n = double(views);
  // A noisy row attends to its block and to the clean tokens before it. Clean rows behind the last
  // block's beginning are read by no one.
  const double noisy_pairs = T * B + T * (T - B) / 2;
  const double clean = autoregressive ? T - 1 : T - B;
  const double clean_pairs = m.causal_context ? clean * (clean + 1) / 2 : clean * (clean + B) / 2;
  const double next = autoregressive ? T - 1 : 0;
  const auto all = double(texts);
  return {all * (n * T + clean), predicted + all * next, all * (n * noisy_pairs + clean_pairs),
          predicted * noisy_pairs / T + all * next * (next + 1) / 2};
}

double training_flops(const ModelConfig& model, const PassWork& work) {
  return product_flops(model, work, 6, 12);
}

double adapter_training_flops(const ModelConfig& model, const PassWork& work) {
  return product_flops(model, work, 4, 12);
}

double training_flops(const ModelConfig& model, std::int64_t sequences, std::int64_t length,
                      std::int64_t predicted) {
  return training_flops(model, work_of(model, sequences, length, predicted));
}

double executed_flops(const ModelConfig& model, std::int64_t sequences, std::int64_t length,
                      std::int64_t predicted) {
  return product_flops(model, work_of(model, sequences, length, predicted), 6, 14);
}

double block_matrix_flops(const ModelConfig& model, const PassWork& work,
                          const Recompute& recompute) {
  return 6 * weights_and_rows(model, work) + recomputed_matrix_flops(model, work, recompute);
}

double recomputed_flops(const ModelConfig& m, const PassWork& work, const Recompute& recompute) {
  const double attention = recompute.block ? 4 * double(m.num_heads * m.head_width()) : 0;
  return recomputed_matrix_flops(m, work, recompute) +
         double(m.num_layers - 1) * attention * work.pairs;
}

double forward_flops(const ModelConfig& model, const PassWork& work) {
  return product_flops(model, work, 2, 4);
}

double forward_flops(const ModelConfig& model, std::int64_t sequences, std::int64_t length,
                     std::int64_t predicted) {
  return forward_flops(model, work_of(model, sequences, length, predicted));
}

}  // namespace lacuna
