#pragma once
#include "comm/communicator.h"
#include "core/arena.h"
#include "kernels/ops.h"
#include "model/tensor_parallel_shard.h"

namespace lacuna {

/// Whole rows of logits of a model that ranks share: each computes those of its own ids, and all of
/// them get all. To draw a token, the noise of every id must meet its logit (Ops::row_stats).
class VocabParallelLogits {
 public:
  /// Borrows ops and shares. At most `rows` rows at once, of `type`.
  VocabParallelLogits(Ops& ops, Communicator& tp_group, const ModelConfig& config,
                      std::int64_t rows, DType type);
  /// What that allocates.
  static Plan plan(const ModelConfig& config, std::int64_t rows, DType type, int tp_group);

  /// logits [m,V] = hidden w^T. hidden [m,C]; w [ids,C], this rank's rows of the head. Every rank
  /// gets the same bits.
  void compute(Tensor logits, Tensor hidden, Matrix w);

 private:
  Ops& ops_;
  Communicator& tp_group_;
  const ModelConfig config_;
  Arena parts_;
};

}  // namespace lacuna
