#include "model/mixture_of_experts.h"

#include <vector>

#include "core/tensor_of.h"

namespace lacuna {
namespace {

/// Adds an expert's results for its rows, `routed` [begin, end), to s.experts.sum.
void expert_forward(Ops& ops, const ExpertWeights& w, const BlockActivations& a, const Scratch& s,
                    std::int64_t begin, std::int64_t end) {
  const std::int64_t n = end - begin;
  const ExpertScratch& e = s.experts;
  const Tensor rows = e.routed.rows.row_range(begin, n), x = e.x.row_range(0, n),
               gate_up = a.gate_up.row_range(0, n), hidden = s.hidden.row_range(0, n);
  ops.gather_rows(x, s.h, rows);
  linear_forward(ops, gate_up, x, w.gate_up);  // [n,2F] = [n,C] [2F,C]^T
  ops.swiglu_forward(hidden, gate_up);         // [n,F]
  ops.linear_forward(x, hidden, w.ffn_out);    // [n,C] = [n,F] [C,F]^T
  ops.add_weighted_rows(e.sum, x, rows, e.routed.weights.row_range(begin, n));
}

}  // namespace

void mixture_forward(const Pass& pass, const BlockWeights& w, const BlockActivations& a,
                     const Scratch& s) {
  if (s.h.rows() == 0) return;
  Ops& ops = pass.ops;
  const ExpertScratch& e = s.experts;
  ops.linear_forward(e.logits, s.h, w.router);
  ops.route_rows(e.routed, e.logits, pass.norm_topk_prob);
  std::vector<std::int32_t> offsets(w.experts.size() + 1);
  ops.copy(tensor_of(offsets), e.routed.offsets);
  ops.synchronize();
  ops.fill(e.sum, 0);
  for (std::size_t i = 0; i < w.experts.size(); ++i)
    if (offsets[i] < offsets[i + 1])
      expert_forward(ops, w.experts[i], a, s, offsets[i], offsets[i + 1]);
  ops.copy(s.h, e.sum);
}

}  // namespace lacuna
