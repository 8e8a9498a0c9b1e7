#pragma once
#include "kernels/ops.h"
#include "model/sequences.h"

namespace lacuna {

/// What every layer of one forward or backward pass shares.
struct Pass {
  Ops& ops;
  float norm_eps;
  Tensor rope_table;  // f32 [P,D]
  SequenceTensors sequences;
  AttentionShape attention;         // every row asks
  AttentionShape wanted_attention;  // the wanted rows ask: in the last block
};

}  // namespace lacuna
