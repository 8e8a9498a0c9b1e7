#pragma once
#include <cstdint>
#include <memory>

#include "core/arena.h"
#include "kernels/ops.h"
#include "model/model_weights.h"
#include "model/vocab_parallel_cross_entropy.h"
#include "model/vocab_parallel_logits.h"

namespace lacuna {

/// What a head is asked for. A loss leaves logits where they are, in rows that begin at multiples
/// of logits_stride(), and in a tensor-parallel group needs those of a rank's own ids alone; a
/// token is drawn from contiguous rows of all.
enum class HeadUse : std::uint8_t { loss, logits };

inline constexpr const char* kNotFinite =
    "the model's logits are not finite; its weights are damaged";

/// Rows of logits that a head should hold at once: about 64 MiB of them in main memory; 512 MiB on
/// a device, where each chunk's product also reads and writes the head's gradient; at least 32
/// rows.
std::int64_t head_chunk_rows(const ModelConfig& config, DType type = DType::f32,
                             Place place = Place::host);

/// The output head on the rows that need it: logits = hidden w^T, a chunk of rows at a time, so
/// that [M,V] never exists whole. Loss and gradient are fused in place. Ranks of a tensor parallel
/// group each compute the logits of their own ids; a loss leaves them there
/// (model/vocab_parallel_cross_entropy.h), logits() gathers them (model/vocab_parallel_logits.h).
class Head {
 public:
  /// Borrows what `weights` view. Chunks of at most `chunk_rows` rows, and of a multiple of
  /// `row_unit` rows each where that divides all rows. `shares` as in Model.
  Head(Ops& ops, const ModelConfig& config, const ModelWeights& weights, std::int64_t chunk_rows,
       Communicator* tp_group = nullptr, HeadUse use = HeadUse::loss, std::int64_t row_unit = 1);

  /// The logits that it allocates, but for those of VocabParallelLogits and
  /// VocabParallelCrossEntropy.
  static Plan plan(const ModelConfig& config, std::int64_t chunk_rows, DType dtype,
                   TensorParallelShard share, HeadUse use = HeadUse::loss);

  std::int64_t chunk_rows() const { return chunk_rows_; }
  /// With HeadUse::logits: [m,V] of hidden [m,C], m <= chunk_rows(); valid until the next call. The
  /// caller may overwrite them. All ranks of a tensor-parallel group call.
  Tensor logits(Tensor hidden);
  /// The same in a second buffer, for guidance; allocated on first use.
  Tensor second_logits(Tensor hidden);
  /// With HeadUse::loss: loss[m] = cross-entropy in nats. loss f32 [M], hidden [M,C], targets i32
  /// [M]; any M.
  void loss(Tensor loss, Tensor hidden, Tensor targets);
  /// The same, and the gradient of sum_m row_weights[m] loss[m]: d_hidden [M,C] overwritten (may be
  /// hidden); d_head, which is like the head, by `mode`, if it has data. row_weights f32 [M].
  void loss_and_gradient(Tensor loss, Tensor d_hidden, Tensor d_head, Tensor hidden, Tensor targets,
                         Tensor row_weights, GradMode mode = GradMode::accumulate);

 private:
  static std::int64_t columns_of(const ModelConfig& config, TensorParallelShard share, HeadUse use);
  Tensor chunk(const Arena& arena, std::int64_t rows) const;
  Tensor whole_logits(const Arena& arena, Tensor hidden);
  /// The ids of this rank's logits.
  Tensor own_columns(Tensor logits) const { return logits.column_range(0, head_.rows()); }
  Ops& ops_;
  const Matrix head_;
  const DType dtype_;
  const std::int64_t chunk_rows_, row_unit_;
  const HeadUse use_;
  const std::int64_t columns_;  // of this rank's logits
  Communicator* tp_group_;
  Arena logits_;
  std::unique_ptr<VocabParallelCrossEntropy> shared_;
  std::unique_ptr<VocabParallelLogits> gathered_;
  std::unique_ptr<Arena> second_;
};

}  // namespace lacuna
