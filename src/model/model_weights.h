#pragma once
#include <cstdint>
#include <vector>

#include "core/matrix.h"
#include "core/tensor.h"
#include "kernels/ops.h"
#include "model/adapter.h"
#include "model/tensor_parallel_shard.h"

namespace lacuna {

class UnitGatherer;

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

// With `dequantised`, a vector of at least dequantised_elements(), matrices in other formats than
// x's type are converted there first, some rows at a time. Without, the operations read them.

/// y = x w^T, as Ops::linear_forward: one product per part.
void linear_forward(Ops& ops, Tensor y, Tensor x, const PackedMatrix& w,
                    const Tensor& dequantised = {});
void linear_forward(Ops& ops, Tensor y, Tensor x, const Matrix& w, const Tensor& dequantised);
/// dx = dy w, as Ops::linear_backward_input.
void linear_backward_input(Ops& ops, Tensor dx, Tensor dy, const PackedMatrix& w,
                           const Tensor& dequantised = {});
void linear_backward_input(Ops& ops, Tensor dx, Tensor dy, const Matrix& w,
                           const Tensor& dequantised);
/// Of a matrix, at most 128 MiB in bf16, but at least a row.
std::int64_t dequantised_elements(const Shape& matrix);

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
  BlockAdapters adapters;

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
  UnitGatherer* gatherer = nullptr;  // of weights that passes gather; null: all are there
};

/// What passes of a model need room for because of how its weights are held, beside what its
/// config says.
struct WeightScratch {
  std::int64_t low_rank = 0;     // columns of AdapterScratch::low
  std::int64_t dequantised = 0;  // elements; where there are matrices that are converted

  bool operator==(const WeightScratch&) const = default;
};
/// In training what is not of the activations' type is converted; else what `ops` does not read.
WeightScratch weight_scratch(const ModelWeights& weights, const Ops& ops, bool training);

/// Throws Error naming the first matrix in a format that `ops` neither reads (Ops::reads) nor is
/// converted: of the embedding, the head, or experts.
void check_formats(const ModelWeights& weights, const Ops& ops);

}  // namespace lacuna
