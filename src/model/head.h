#pragma once
#include <cstdint>
#include <memory>

#include "core/arena.h"
#include "kernels/ops.h"
#include "model/shared_cross_entropy.h"
#include "model/shared_logits.h"
#include "model/weights.h"

namespace lacuna {

/// What a head is asked for. It matters where ranks share the model: a loss needs the logits of a
/// rank's own ids alone, a token to be drawn those of all.
enum class HeadUse : std::uint8_t { loss, logits };

/// The output head on the rows that need it: logits = hidden w^T, a chunk of rows at a time, so
/// that [M,V] never exists whole. Loss and gradient are fused in place. Ranks that share the model
/// each compute the logits of their own ids; a loss leaves them there
/// (model/shared_cross_entropy.h), logits() gathers them (model/shared_logits.h).
class Head {
 public:
  /// Borrows `weights`. Chunks of `chunk_rows` rows. `shares` as in Model.
  Head(Ops& ops, const ModelConfig& config, const ModelTensors& weights, std::int64_t chunk_rows,
       Communicator* shares = nullptr, HeadUse use = HeadUse::loss);

  /// The logits that it allocates, but for those of SharedLogits and SharedCrossEntropy.
  static Plan plan(const ModelConfig& config, std::int64_t chunk_rows, DType dtype,
                   ModelShare share, HeadUse use = HeadUse::loss);

  std::int64_t chunk_rows() const { return chunk_rows_; }
  /// Logits [m,V] of hidden [m,C], m <= chunk_rows(); valid until the next call. The caller may
  /// overwrite them. Of a model that ranks share: with HeadUse::logits, and all of them call.
  Tensor logits(Tensor hidden);
  /// The same in a second buffer, for guidance; allocated on first use.
  Tensor second_logits(Tensor hidden);
  /// loss[m] = cross-entropy in nats. loss f32 [M], hidden [M,C], targets i32 [M]; any M. Of a
  /// model that ranks share: with HeadUse::loss.
  void loss(Tensor loss, Tensor hidden, Tensor targets);
  /// The same, and the gradient of sum_m row_weights[m] loss[m]: d_hidden [M,C] overwritten (may be
  /// hidden), added to d_head, which is like the head. row_weights f32 [M].
  void loss_and_gradient(Tensor loss, Tensor d_hidden, Tensor d_head, Tensor hidden, Tensor targets,
                         Tensor row_weights);

 private:
  Tensor chunk(const Arena& arena, std::int64_t rows) const;
  Tensor whole_logits(const Arena& arena, Tensor hidden);
  /// The ids of this rank's logits.
  Tensor own_columns(Tensor logits) const { return logits.column_range(0, weights_.head.rows()); }
  Ops& ops_;
  const ModelTensors& weights_;
  std::int64_t chunk_rows_;
  Communicator* shares_;
  Arena logits_;
  std::unique_ptr<SharedCrossEntropy> shared_;
  std::unique_ptr<SharedLogits> gathered_;
  std::unique_ptr<Arena> second_;
};

}  // namespace lacuna
