#include "model/mlp.h"

#include "model/sequence_parallel.h"

namespace lacuna {

void norm_mlp_input(const Pass& pass, const BlockWeights& w, const BlockActivations& a,
                    const Scratch& s) {
  pass.ops.rmsnorm_forward(own_rows(s, s.h), a.ffn_rstd, a.residual_mid, w.ffn_norm, pass.norm_eps);
  gather_rows_of(pass, s, s.h_parts);
}

void project_gate_up(const Pass& pass, const BlockWeights& w, const BlockActivations& a,
                     const Scratch& s) {
  linear_forward(pass.ops, a.gate_up, s.h, w.gate_up);  // [M,2F] = [M,C] [2F,C]^T
}

void mlp_forward(const Pass& pass, const BlockWeights& w, const BlockActivations& a,
                 const Scratch& s) {
  Ops& ops = pass.ops;
  project_gate_up(pass, w, a, s);
  ops.swiglu_forward(s.hidden, a.gate_up);       // [M,F]
  ops.linear_forward(s.h, s.hidden, w.ffn_out);  // [M,C] = [M,F] [C,F]^T
  sum_h(pass, s);
}

void mlp_backward(const Pass& pass, const BlockWeights& w, BlockTensors& dw,
                  const BlockActivations& a, const Scratch& s, bool normed) {
  Ops& ops = pass.ops;
  gather_rows_of(pass, s, s.d_x_parts);
  ops.linear_backward_input(s.hidden, s.d_x, w.ffn_out, GradMode::overwrite);
  ops.swiglu_backward(a.gate_up, s.hidden, s.hidden, a.gate_up);  // hidden: from gradient to value
  ops.linear_backward_weight(dw.ffn_out, s.d_x, s.hidden);
  if (!normed) norm_mlp_input(pass, w, a, s);
  ops.linear_backward_weight(dw.gate_up, a.gate_up, s.h);
  linear_backward_input(ops, s.h, a.gate_up, w.gate_up);
  sum_h(pass, s);
  ops.rmsnorm_backward(own_rows(s, s.d_x), dw.ffn_norm, own_rows(s, s.h), a.residual_mid,
                       a.ffn_rstd, w.ffn_norm, GradMode::accumulate);
}

}  // namespace lacuna
