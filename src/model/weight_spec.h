#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "config/config.h"
#include "core/tensor.h"

namespace lacuna {

// The one table of a model's weights. What needs names, shapes or properties of weights reads it:
// ModelTensors, initialisation, checkpoints, import and export, LoRA, FLOPs and the planner. It
// needs the config alone.

/// Matrices decay, biases do not; whether norms and the embedding do is configured
/// (OptimizerConfig).
enum class WeightKind : std::uint8_t { matrix, bias, norm, embedding };

/// What a weight does in the model.
enum class WeightRole : std::uint8_t {
  embedding,
  attention_norm,
  query,
  key,
  value,
  query_bias,
  key_bias,
  value_bias,
  query_norm,
  key_norm,
  attention_out,
  ffn_norm,
  gate,
  up,
  ffn_out,
  router,
  expert_gate,
  expert_up,
  expert_out,
  final_norm,
  head,
  lora_a,
  lora_b
};

/// How a tensor-parallel group shares a weight (arXiv:1909.08053, section 3): every rank holds all
/// of it, equal parts of its outputs (rows) or inputs (columns), or ids in nearly equal numbers.
enum class ParallelAxis : std::uint8_t { none, rows, columns, ids };

/// Initial values: zeros, ones, or normal with this sigma: 1/sqrt(C) for what reads the residual
/// stream, 1/sqrt(2 (l+1) d_in) for what writes to it, d_in wide, in block l counted from 0; or
/// uniform in +-1/sqrt(d_in), as PyTorch's linear layers and PEFT's lora_A.
enum class InitialScale : std::uint8_t { zeros, ones, reads_residual, writes_residual, uniform };

/// An extent of a weight, as the config gives it: V, C, H D, K D, D, F, the number of experts.
/// none: of a vector's columns. rank: lora.rank, of adapters.
enum class Extent : std::uint8_t {
  none,
  vocabulary,
  hidden,
  queries,
  keys,
  head,
  intermediate,
  experts,
  rank
};

/// Which models have a weight: all of them, or those whose config has the key. Feed-forward layers
/// are dense, or a mixture of experts (model.num_experts): a router, and the same matrices for each
/// expert.
enum class Presence : std::uint8_t { always, qkv_bias, qk_norm, dense, mixture, each_expert };

/// Whose names: LLaDA's and LLaMA's Hugging Face files (Dream's matrices have LLaMA's names), or
/// GGUF files.
enum class NameScheme : std::uint8_t { llada, llama, gguf };

/// A row of the table. Names are of a block's tensor, or whole outside of the blocks, without
/// ".weight" or ".bias"; '*' stands for the number of an expert. In GGUF files the matrices of all
/// experts are one tensor, [experts, rows, columns].
struct WeightSpec {
  WeightRole role;
  /// The tensor in memory that it is, or, with its neighbours of the same name, a part of:
  /// consecutive rows.
  const char* packed;
  const char *llada, *llama, *gguf;
  Extent rows, columns;
  WeightKind kind;
  ParallelAxis axis;
  InitialScale scale;
  bool lora;  // whether lora.targets may name it, by its LLaDA name
  Presence presence = Presence::always;

  /// Whether each block has one, or one for each expert.
  bool in_block() const;
  /// A matrix of a block: of attention, the feed-forward layer or an expert, or a router.
  bool is_block_matrix() const { return kind == WeightKind::matrix && in_block(); }
  bool of_expert() const { return presence == Presence::each_expert; }
  /// Whether such a model has one of its own; a tied head is the embedding.
  bool is_in(const ModelConfig& config) const;
  /// [rows, columns] or [rows], on all ranks together; of one expert.
  Shape shape(const ModelConfig& config) const;
  /// With block, and ".weight" or ".bias"; `block` -1 outside of the blocks, `expert` -1 for what
  /// is no expert's.
  std::string name(NameScheme scheme, int block, int expert = -1) const;
};

/// In the order of the forward pass: what precedes the blocks, what each has, what follows.
std::span<const WeightSpec> weight_table();
/// The row of a role.
const WeightSpec& weight_spec(WeightRole role);
/// The embedding's name in our files: its rows are the vocabulary.
std::string embedding_name();

/// A weight of a certain model.
struct ModelWeight {
  const WeightSpec* spec;
  int block;         // -1 outside of the blocks
  std::string name;  // NameScheme::llada, that of our files
  Shape shape;       // on all ranks together
  int expert = -1;   // -1: no expert's
};

/// Every weight, in the order of the forward pass, which has the matrices of one expert together; a
/// tied head is the embedding, and not listed.
std::vector<ModelWeight> model_weights(const ModelConfig& config);
/// Elements of all of them.
std::int64_t count_parameters(const ModelConfig& config);

/// The factors of a low-rank adapter (LoRA, arXiv:2106.09685) of a matrix W [out,in]: y = x W^T + s
/// (x A^T) B^T. A tensor parallel group shares them as it does W: where W's rows, B's; where its
/// columns, A's. Every rank holds all of the other.
struct AdapterSpec {
  const WeightSpec* target;  // W
  WeightSpec a, b;           // A [r,in], B [out,r]
};
/// Of every matrix that lora.targets may name, in the order of the forward pass.
std::span<const AdapterSpec> adapter_table();
/// The row whose a or b that is.
const AdapterSpec& adapter_of(const WeightSpec& factor);
/// The adapters of lora.targets, block by block: of matrices that are packed together all A, then
/// all B. Names are those of W with "lora_A.weight" and "lora_B.weight" for "weight", as PEFT's.
std::vector<ModelWeight> adapter_weights(const ModelConfig& config, const LoraConfig& lora);

}  // namespace lacuna
