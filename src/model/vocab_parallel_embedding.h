#pragma once
#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "kernels/ops.h"
#include "model/activations.h"
#include "model/tensor_parallel_shard.h"

namespace lacuna {

/// The embedding of a model that ranks may share: each holds the rows of its ids.
class VocabParallelEmbedding {
 public:
  /// Borrows all.
  VocabParallelEmbedding(Ops& ops, Communicator& tp_group, const ShardDims& own,
                         const Activations& activations)
      : ops_(ops), tp_group_(tp_group), own_(own), activations_(activations) {}

  /// The tokens of the next forward pass in main memory: it then need not read them from a device.
  void place(Tensor tokens);
  /// x[n,:] = embedding of tokens[n]. x [N,C], tokens i32 [N] in ops.place(), w this rank's rows.
  void forward(Tensor x, Tensor tokens, Matrix w);
  /// dw[v,:] (+)= the sum of d_x[n,:] of this rank's ids v among the last forward's tokens.
  void backward(Tensor dw, Tensor d_x, Tensor tokens, GradMode mode);

 private:
  void find_own();

  Ops& ops_;
  Communicator& tp_group_;
  const ShardDims own_;
  const Activations& activations_;
  bool placed_ = false;                            // tokens_ are the next forward's
  std::vector<std::int32_t> tokens_, ids_, rows_;  // ids_ are counted from own_.first_id
};

}  // namespace lacuna
