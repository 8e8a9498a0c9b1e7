#pragma once
#include <cstdint>
#include <vector>

#include "core/matrix.h"
#include "core/tensor.h"
#include "kernels/ops.h"
#include "model/tensor_parallel_shard.h"

namespace lacuna {

/// Matrices of one width, one below the other: the query, key and value projections, the gate and
/// the up projection. One matrix where they lie so in memory; else several, each in its own format.
struct PackedMatrix {
  std::vector<Matrix> parts;

  /// Parts that follow each other in memory, in one format, become one.
  static PackedMatrix joined(const std::vector<Matrix>& parts);
  std::int64_t rows() const;
  /// Rows [from, from + n), counted through all parts.
  PackedMatrix row_range(std::int64_t from, std::int64_t n) const;
};
/// y = x w^T, as Ops::linear_forward: one product per part.
void linear_forward(Ops& ops, Tensor y, Tensor x, const PackedMatrix& w);
/// dx = dy w, as Ops::linear_backward_input.
void linear_backward_input(Ops& ops, Tensor dx, Tensor dy, const PackedMatrix& w);

/// The feed-forward matrices of one expert.
struct ExpertWeights {
  PackedMatrix gate_up;  // [2F, C]
  Matrix ffn_out;        // [C, F]
};

/// The weights of a transformer block; of a model that ranks share, this rank's part, as in
/// BlockTensors. Letters as in kernels/ops.h.
struct BlockWeights {
  Tensor attention_norm;  // [C]
  PackedMatrix qkv;       // [(H+2K) D, C]
  Tensor qkv_bias;        // [(H+2K) D] with model.qkv_bias, else none
  Tensor query_norm;      // [D] with model.qk_norm, else none
  Tensor key_norm;        // [D] likewise
  Matrix attention_out;   // [C, H D]
  Tensor ffn_norm;        // [C]
  PackedMatrix gate_up;   // [2F, C]
  Matrix ffn_out;         // [C, F]

  // In place of the feed-forward matrices, with model.num_experts:
  Matrix router;  // [experts, C]
  std::vector<ExpertWeights> experts;
};

/// What a forward pass reads: views of the weights that ModelTensors hold for training, or
/// InferenceWeights for use. Copies share the memory, which whoever made them owns.
struct ModelWeights {
  Matrix embedding;  // [V,C], or this rank's ids of it
  std::vector<BlockWeights> blocks;
  Tensor final_norm;         // [C]
  Matrix head;               // like the embedding, which it is when tied
  DType dtype = DType::f32;  // of the activations
  TensorParallelShard share;
};

/// Throws Error naming the first matrix in a format that `ops` does not read (Ops::reads).
void check_formats(const ModelWeights& weights, const Ops& ops);

}  // namespace lacuna
