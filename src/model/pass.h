#pragma once
#include "comm/communicator.h"
#include "kernels/ops.h"
#include "model/sequences.h"

namespace lacuna {

/// What every layer of one forward or backward pass shares.
struct Pass {
  Ops& ops;
  Communicator& shares;  // the ranks that share the model
  float norm_eps;
  Tensor rope_table;  // f32 [P,D]
  SequenceTensors sequences;
  AttentionShape attention;         // every row asks
  AttentionShape wanted_attention;  // the wanted rows ask: in the last block
};

/// x = the sum of what every rank's part of a projection gives. Nothing where one rank has it all.
inline void sum_over_shares(Communicator& shares, Tensor x) {
  if (shares.size() == 1) return;
  shares.all_reduce(x, Reduce::sum);
  shares.join();
}

}  // namespace lacuna
