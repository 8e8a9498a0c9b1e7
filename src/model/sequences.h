#pragma once
#include <cstdint>
#include <vector>

#include "config/config.h"
#include "core/tensor.h"
#include "kernels/key_intervals.h"
#include "kernels/ops.h"
#include "model/attention_mask.h"
#include "model/model_weights.h"

namespace lacuna {

/// Rows [begin, end) of a KV cache.
struct CacheRows {
  std::int32_t begin, end;
  bool operator==(const CacheRows&) const = default;
};

/// What one forward pass sees: sequences laid end to end, which do not see each other, and the rows
/// that get logits. Of any mixture of lengths. A sequence's rows are its positions from 0, and
/// attend as the model's attention says; or both are given row by row.
///
/// A model with a KV cache (ModelLimits::cache_rows) computes only some rows of a sequence: their
/// keys and values are written into the sequence's part of the cache, and then attention reads the
/// keys of that part, those of earlier passes among them.
struct Sequences {
  std::vector<std::int32_t> offsets;     // [S+1]: sequence s is rows [offsets[s], offsets[s+1])
  std::vector<std::int32_t> logit_rows;  // strictly increasing
  // Of every row [N], or empty:
  std::vector<std::int32_t> positions =
      {};                               // below model.max_seq_length; several rows may share one
  std::vector<KeyIntervals> keys = {};  // among the rows of the row's sequence; or cache rows
  // With a KV cache, else empty:
  std::vector<CacheRows> slabs = {};          // [S], ascending and disjoint: each sequence's part
  std::vector<std::int32_t> cache_rows = {};  // [N], within the slab, distinct: where a row is kept

  std::int64_t count() const { return offsets.empty() ? 0 : std::int64_t(offsets.size()) - 1; }
  std::int64_t rows() const { return offsets.empty() ? 0 : offsets.back(); }
  bool operator==(const Sequences&) const = default;
  /// `count` sequences of `length` tokens, no logit rows yet.
  static Sequences equal(std::int64_t count, std::int64_t length);
};

/// What a backward pass computes again, block by block, instead of keeping it from the forward pass
/// (train.recompute; Chen et al., arXiv:1604.06174). By the same operations on the same tensors, so
/// that no bit changes. Not in the last block, from which the backward pass begins.
struct Recompute {
  bool gate_up = false;  // of the feed-forward, from the stream before it
  bool qkv = false;      // rotated queries and keys, and values, from the block's input
  bool block = false;    // both, what attention gave, and the stream between: all but the input

  bool operator==(const Recompute&) const = default;
};

/// The most that one forward pass may be asked for.
struct ModelLimits {
  std::int64_t rows;            // tokens N
  std::int64_t sequences;       // S
  std::int64_t logit_rows;      // M
  bool training;                // keep what backward() needs; without, blocks share their memory
  std::int64_t cache_rows = 0;  // of the KV cache; 0: none. Not in training
  Recompute recompute = {};     // in training
  bool fp8_linears = false;     // products with the blocks' matrices (model/fp8_linear.h)
  WeightScratch weights = {};   // set by Model, of the weights that it is given

  /// Attention is cut into segments: of a cache also the gaps between sequences.
  std::int64_t segments() const { return cache_rows > 0 ? 2 * sequences + 1 : sequences; }
};

/// Error naming what is not as `Sequences` says, exceeds the limits or has positions beyond
/// `max_length`.
void check(const Sequences& sequences, const ModelLimits& limits, std::int64_t max_length);

/// Rows that are queries, where the operations run: at which positions, and which keys they attend
/// to.
struct QueryTensors {
  Tensor rows;       // i32 [M], which of the N rows, increasing; none where it is all of them
  Tensor positions;  // i32 [M], of each row within its sequence
  Tensor keys;       // i32 [M,4], the KeyIntervals of each
  Tensor offsets;    // i32 [G+1]: segment g has query rows [offsets[g], offsets[g+1])
};

/// Sequences where the operations run. Key rows are all rows, in every block, or those of the
/// cache. A sequence is a segment of attention; so are the gaps before, between and behind the
/// sequences' slabs in a cache, without queries.
struct SequenceTensors {
  Tensor tokens;            // i32 [N]
  QueryTensors all, logit;  // every row; those that get logits: the queries of the last block
  Tensor key_offsets = {};  // i32 [G+1], as AttentionShape's; without a cache all.offsets
  Tensor cache_rows = {};   // i32 [N]; none without a cache
};

/// Fills SequenceTensors. Allocates nothing after its construction.
class SequencePlacer {
 public:
  SequencePlacer(const ModelLimits& limits, const AttentionMask& mask);
  /// Segments that `sequences` make.
  std::int64_t segments(const Sequences& sequences) const;
  /// `tokens` i32 [N], in any place.
  void place(Ops& ops, const SequenceTensors& to, Tensor tokens, const Sequences& sequences);

 private:
  AttentionMask mask_;
  std::int64_t cache_rows_;
  /// On the host, until they are copied.
  struct Queries {
    std::vector<std::int32_t> positions, offsets;
    std::vector<KeyIntervals> keys;
    void reserve(std::int64_t rows, std::int64_t sequences);
    void clear();
    void add(std::int32_t position, const KeyIntervals& row_keys);
    void end_segment() { offsets.push_back(std::int32_t(positions.size())); }
    void add_to(std::vector<Upload>& uploads, const QueryTensors& to) const;
  };
  Queries all_, logit_;
  std::vector<std::int32_t> key_offsets_;
  std::vector<Upload> uploads_;
  void end_segment(std::int32_t key_end);
};

}  // namespace lacuna
