#pragma once
#include <cstdint>
#include <vector>

#include "config/config.h"
#include "core/arena.h"
#include "kernels/ops.h"
#include "model/fp8_linear.h"
#include "model/sequences.h"
#include "model/tensor_parallel_shard.h"

namespace lacuna {

/// Heads before their norm, and its rstd, with model.qk_norm. One head a row.
struct HeadNorm {
  Tensor x;     // [N H,D]
  Tensor rstd;  // [N H]
};

/// What a block's backward pass needs of its forward pass. N rows enter; M of them are queries: all
/// of them, but in the last block only those that get logits. H, K and F are this rank's. Where
/// rows are split, all but the last block have x, middle and their rstd of this rank's rows alone.
struct BlockActivations {
  Tensor x;               // [N,C] the residual stream as it enters
  Tensor attention_rstd;  // [N]
  Tensor qkv;             // [N,(H+2K)D] rotated queries, in the first M rows; rotated keys; values
  HeadNorm query_norm = {}, key_norm = {};  // of the M queries and the N keys; or none
  Tensor attn_out;                          // [M,H D]
  Tensor lse;                               // [M,H]
  Tensor residual_mid;   // [M,C] the residual stream between attention and feed-forward
  Tensor ffn_rstd;       // [M]
  Tensor gate_up;        // [M,2F]; their gradients in the backward pass
  Tensor kv_cache = {};  // [R,2K D] rotated keys and values, kept from pass to pass; or none
};

/// Of a mixture of experts; k experts compute each of M rows.
struct ExpertScratch {
  Tensor logits;      // [M,experts] of the router
  RoutedRows routed;  // weights and rows: [M k]
  Tensor x;           // [M,C] the rows of one expert, then its results
  Tensor sum;         // f32 [M,C]
};

/// Buffers that every block reuses.
struct Scratch {
  Tensor h;           // [M,C] a norm's result, then what attention or feed-forward adds to the
                      // stream; backward: the gradient of a norm's result
  Tensor d_x;         // [M,C] gradient of the residual stream
  Tensor hidden;      // [M,F] of the feed-forward
  Tensor d_qkv;       // [N,(H+2K)D], in the memory of `hidden`
  Tensor d_attended;  // [M,H D], in the memory of `h`

  // With model.qk_norm: the queries or the keys of some rows, one head a row, which the operations
  // on norms need contiguous. At most [N H D].
  Tensor heads, d_heads;
  Tensor ones;  // [N] with model.qkv_bias
  AdapterScratch adapters = {};
  Tensor dequantised = {};     // of matrices that are converted (model/model_weights.h)
  Fp8Scratch fp8 = {};         // with ModelLimits::fp8_linears
  ExpertScratch experts = {};  // with model.num_experts

  // Where rows are split: h and d_x with room for equal parts, [T ceil(N/T),C], and which rows of
  // them are this rank's.
  Tensor h_parts, d_x_parts;
  RowPart own;
  bool split() const { return own.each > 0; }
};

/// The last residual stream and its norm.
struct FinalActivations {
  Tensor x;     // [M,C]
  Tensor rstd;  // [M]
};

/// All memory of a Model, allocated once, and views of as much of it as a pass needs. A norm's
/// result is not kept: computing it again from x costs one pass over memory. What is recomputed has
/// one tensor, which all blocks share. Without training nothing is kept: blocks share everything,
/// and within a block what lives at different times.
class Activations {
 public:
  /// Throws Error with the memory table when the memory cannot be had.
  Activations(Memory& memory, const ModelConfig& config, const ModelLimits& limits, DType dtype,
              TensorParallelShard share);
  /// What that allocates.
  static Plan plan(const ModelConfig& config, const ModelLimits& limits, DType dtype,
                   TensorParallelShard share);

  /// Views from now on are for N rows, of which M get logits, in so many segments of attention.
  void resize(std::int64_t rows, std::int64_t logit_rows, std::int64_t segments);

  BlockActivations block(std::size_t l) const;
  FinalActivations final() const;
  /// All rows of the first block's x and of the last one's; with room for equal parts of those.
  Tensor first_x() const { return first(slots_.blocks.front().x, rows_); }
  Tensor last_x_parts() const { return first(slots_.blocks.back().x, padded(rows_)); }
  Scratch scratch() const;        // of all rows: M = N
  Scratch whole_scratch() const;  // the same where all ranks have all rows, in the last block
  Scratch logit_scratch() const;  // of the rows that get logits, in the last block
  SequenceTensors sequences() const;
  Tensor ones() const { return whole(slots_.ones); }  // which the model fills
  Tensor rope_table() const { return arena_[slots_.rope_table]; }
  const Plan& plan() const { return arena_.plan(); }
  /// Whether rows are sharded over the ranks of the tensor parallel group.
  bool split() const { return share_.is_sequence_parallel(std::int64_t(slots_.blocks.size())); }

  /// Of the tokens, those whose embeddings this rank holds, at most as many as there are rows; and
  /// room for their embeddings, where no other rank's are. Only of a model that ranks share.
  Tensor own_ids(std::int64_t n) const { return first(slots_.own_ids, n); }
  Tensor own_rows(std::int64_t n) const { return first(slots_.own_rows, n); }
  Tensor own_embeddings(std::int64_t n) const { return first(slots_.h, n); }

 private:
  struct BlockSlots {
    Slot x, attention_rstd, qkv, attn_out, lse, residual_mid, ffn_rstd, gate_up;
    Slot query_x, query_rstd, key_x, key_rstd;
  };
  struct QuerySlots {
    Slot rows, positions, offsets, keys;
  };
  struct Slots {
    std::vector<BlockSlots> blocks;
    std::vector<Slot> kv_cache;  // of each block, or none
    Slot final_x, final_rstd;
    Slot h, d_x, d_attended, logit_h, logit_d_x, logit_d_attended, hidden, d_qkv;
    QuerySlots all, logit;
    Slot heads, d_heads, ones;
    Slot low_rank, d_low_rank, dequantised;
    Slot fp8_first, fp8_first_transposed, fp8_second, fp8_cells;
    Slot tokens, key_offsets, cache_rows, rope_table;
    Slot own_ids, own_rows;
    Slot router_logits, expert_offsets, expert_rows, expert_weights, expert_x, expert_sum;
  };
  static Plan make_plan(const ModelConfig& config, const ModelLimits& limits, DType dtype,
                        TensorParallelShard share, Slots& slots);
  std::int64_t padded(std::int64_t rows) const {
    return split() ? share_.count * RowPart(rows, share_).each : rows;
  }
  QueryTensors queries(const QuerySlots& slots, std::int64_t rows) const;
  Scratch scratch_of(std::int64_t rows, Slot h, Slot d_x, Slot d_attended) const;
  ExpertScratch experts(std::int64_t rows) const;
  Fp8Scratch fp8() const;
  /// The first rows of a planned tensor; nothing when it was not planned.
  Tensor first(Slot slot, std::int64_t rows) const;
  Tensor whole(Slot slot) const { return slot ? arena_[slot] : Tensor(); }

  TensorParallelShard share_;
  ShardDims heads_;
  std::int64_t experts_per_row_;
  bool keeping_;  // what every block computes
  Slots slots_;
  Arena arena_;
  std::int64_t rows_ = 0, logit_rows_ = 0, segments_ = 0;
};

}  // namespace lacuna
