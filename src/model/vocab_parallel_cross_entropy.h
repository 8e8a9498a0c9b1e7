#pragma once
#include <cstdint>

#include "comm/communicator.h"
#include "core/arena.h"
#include "kernels/ops.h"
#include "model/tensor_parallel_shard.h"

namespace lacuna {

/// Cross-entropy of logits whose columns (ids) are spread over the ranks of the tensor parallel
/// group. What the ranks exchange is one number per row, twice; logits are never gathered. All of
/// it is queued on the device.
///
/// Each rank's logits have one column more, for all the ids it does not hold: when that column is
/// the log-sum-exp of the other ranks' logits, the softmax over a row is the one over the whole
/// vocabulary. (In bf16 that number is rounded like the logits are.)
class VocabParallelCrossEntropy {
 public:
  /// Borrows ops and shares. At most `rows` rows at once.
  VocabParallelCrossEntropy(Ops& ops, Communicator& tp_group, const ShardDims& own,
                            std::int64_t rows);
  /// What that allocates.
  static Plan plan(std::int64_t rows, int ranks);

  /// As Ops::cross_entropy_forward and _backward, over the whole vocabulary: loss f32 [m], targets
  /// i32 [m] ids; logits [m, ids + 1], may be strided, of which the first `ids` columns are this
  /// rank's; the gradient takes their place.
  void forward(Tensor loss, Tensor logits, Tensor targets);
  void backward(Tensor loss, Tensor logits, Tensor targets, Tensor weights);

 private:
  struct Slots {
    Slot targets, zeros, nothing, own_lse, lse;
  };
  static Plan make_plan(std::int64_t rows, int ranks, Slots& slots);
  /// Fills the last column, with the help of `loss`; returns the targets as columns.
  Tensor complete(Tensor logits, Tensor targets, Tensor loss);
  /// Each row's loss is known to the rank that holds its target.
  void share_losses(Tensor loss, Tensor own_targets);

  Ops& ops_;
  Communicator& tp_group_;
  const ShardDims own_;
  Slots slots_;
  Arena arena_;
};

}  // namespace lacuna
