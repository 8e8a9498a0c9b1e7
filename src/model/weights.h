#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "config/config.h"
#include "core/arena.h"
#include "core/tensor.h"
#include "kernels/ops.h"

namespace lacuna {

/// The weights of one transformer block, or their gradients or moments. Letters as in
/// kernels/ops.h.
struct BlockTensors {
  Tensor attention_norm;  // [C]
  Tensor qkv;             // [(H+2K) D, C]: rows of the query, key and value projections
  Tensor attention_out;   // [C, H D]
  Tensor ffn_norm;        // [C]
  Tensor gate_up;         // [2F, C]: rows of the gate, then of the up projection
  Tensor ffn_out;         // [C, F]
};

enum class WeightKind : std::uint8_t { matrix, norm, embedding };

/// A weight under its name in Hugging Face LLaDA files. Packed tensors are listed by their parts
/// (q_proj, k_proj, v_proj; ff_proj is the gate, up_proj), each contiguous.
struct NamedWeight {
  std::string name;
  Tensor tensor;
  WeightKind kind;
  int block;  // -1 outside the blocks
};

/// One tensor for every weight of a model, in one allocation, zeroed.
class ModelTensors {
 public:
  /// `kind` names them in memory tables: "weights", "gradients"…  config.vocab_size must be set.
  ModelTensors(Memory& memory, const ModelConfig& config, const std::string& kind,
               DType dtype = DType::f32);

  Tensor embedding;  // [V,C]
  std::vector<BlockTensors> blocks;
  Tensor final_norm;  // [C]
  Tensor head;        // [V,C]; the embedding itself when tied

  /// In the order of the forward pass; a tied head is not listed again.
  const std::vector<NamedWeight>& named() const { return named_; }
  /// Every element as one vector, with zeros where alignment left gaps.
  Tensor flat() const;
  /// Elements without the gaps.
  std::int64_t parameters() const;

 private:
  Arena arena_;
  std::vector<NamedWeight> named_;
};

/// LLaDA's initialisation (its "mitchell"): normal, cut at 3 sigma; sigma = 1/sqrt(C) for the
/// embedding, the head and the projections that read the residual stream, 1/sqrt(2 (l+1) d_in) for
/// attention_out and ffn_out of block l (counted from 0), whose input is d_in wide; norms are 1.
/// Depends on the seed and each element's place in the named tensor alone.
void initialise(const ModelTensors& weights, const ModelConfig& config, std::uint64_t seed,
                Ops& ops);

}  // namespace lacuna
