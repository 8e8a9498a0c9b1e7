#pragma once
#include "comm/communicator.h"
#include "kernels/ops.h"
#include "model/sequences.h"

namespace lacuna {

/// The queries of a block. Keys and values are of all N rows, or of those in the KV cache.
struct QueryRows {
  Tensor rows;       // i32 [M], which rows, increasing; none where it is all of them, in order
  Tensor positions;  // i32 [M]
  AttentionShape attention;

  bool are_all() const { return rows.data == nullptr; }
};

/// What every layer of one forward or backward pass shares.
struct Pass {
  Ops& ops;
  Communicator& tp_group;  // the ranks of the tensor parallel group
  float norm_eps;
  Tensor rope_table;    // f32 [P,D]
  Tensor tokens;        // i32 [N]
  QueryRows all;        // the queries of every block but the last
  QueryRows logit;      // those of the last: the rows that get logits
  Tensor cache_rows;    // i32 [N]: where keys and values are kept; none without a KV cache
  bool norm_topk_prob;  // of a mixture of experts
  GradMode gradient_mode = GradMode::accumulate;  // of the weights', in a backward pass
};

/// x = the sum of what every rank's part of a projection gives. Nothing where one rank has it all.
inline void sum_over_shares(Communicator& tp_group, Tensor x) {
  if (tp_group.size() == 1) return;
  tp_group.all_reduce(x, Reduce::sum);
  tp_group.wait();
}

}  // namespace lacuna
