#pragma once
#include "model/activations.h"
#include "model/pass.h"

namespace lacuna {

// Between the parts of a block that ranks share, each rank has the same residual stream; or, with
// TensorParallelShard::sequence_parallel, its own rows of it (sequence parallelism,
// arXiv:2205.05198, section 4.2.2): a sum over ranks gives each its rows, the norm passes over
// those, and they are gathered for the next GEMM. As many bytes as the whole sum forward, half as
// many again backward, for 1/T of the memory of what the norms keep.

/// The rows of x [N,...] whose residual stream this rank has. All, where rows are not split.
inline Tensor own_rows(const Scratch& s, const Tensor& x) {
  return s.split() ? x.row_range(s.own.first, s.own.count) : x;
}

/// s.h = the sum of what every rank's part of a projection gives; where rows are split, own_rows of
/// it, and the others are undefined.
inline void sum_h(const Pass& pass, const Scratch& s) {
  if (!s.split()) return sum_over_shares(pass.tp_group, s.h);
  pass.tp_group.reduce_scatter(s.own.part_of(s.h_parts), s.h_parts, Reduce::sum);
  pass.tp_group.wait();
}

/// All rows of s.h, s.d_x or another such tensor, of which every rank has its own. Nothing where
/// rows are not split.
inline void gather_rows_of(const Pass& pass, const Scratch& s, const Tensor& parts) {
  if (!s.split()) return;
  pass.tp_group.all_gather(parts, s.own.part_of(parts));
  pass.tp_group.wait();
}

}  // namespace lacuna
