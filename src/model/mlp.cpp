#include "model/mlp.h"

#include "model/adapted_linear.h"
#include "model/sequence_parallel.h"

namespace lacuna {

void norm_mlp_input(const Pass& pass, const BlockWeights& w, const BlockActivations& a,
                    const Scratch& s) {
  pass.ops.rmsnorm_forward(own_rows(s, s.h), a.ffn_rstd, a.residual_mid, w.ffn_norm, pass.norm_eps,
                           s.fp8.h_amax);
  gather_rows_of(pass, s, s.h_parts);
}

void project_gate_up(const Pass& pass, const BlockWeights& w, const BlockActivations& a,
                     const Scratch& s) {
  // [M,2F] = [M,C] [2F,C]^T
  adapted_linear_forward(pass.ops, a.gate_up, s.h, w.gate_up, w.adapters.gate_up, s, s.fp8.h_amax);
}

void mlp_forward(const Pass& pass, const BlockWeights& w, const BlockActivations& a,
                 const Scratch& s) {
  Ops& ops = pass.ops;
  project_gate_up(pass, w, a, s);
  ops.swiglu_forward(s.hidden, a.gate_up, s.fp8.hidden_amax);  // [M,F]
  // [M,C] = [M,F] [C,F]^T
  adapted_linear_forward(ops, s.h, s.hidden, w.ffn_out, w.adapters.ffn_out, s, s.fp8.hidden_amax);
  sum_h(pass, s);
}

void mlp_backward(const Pass& pass, const BlockWeights& w, BlockTensors& dw,
                  const BlockActivations& a, const Scratch& s, bool normed) {
  Ops& ops = pass.ops;
  gather_rows_of(pass, s, s.d_x_parts);
  const BlockAdapters& adapters = w.adapters;
  begin_adapted_linear_backward(ops, s.d_x, adapters.ffn_out, s);
  adapted_linear_backward_input(ops, s.hidden, s.d_x, w.ffn_out, adapters.ffn_out, s);
  ops.swiglu_backward(a.gate_up, s.hidden, s.hidden, a.gate_up, s.fp8.d_gate_up_amax,
                      s.fp8.hidden_amax);  // hidden: from gradient to value
  adapted_linear_backward_weight(ops, dw.ffn_out, dw.adapters.ffn_out, s.d_x, s.hidden,
                                 adapters.ffn_out, s, pass.gradient_mode, s.fp8.hidden_amax);
  if (!normed) norm_mlp_input(pass, w, a, s);
  adapted_linear_backward(ops, s.h, dw.gate_up, dw.adapters.gate_up, a.gate_up, s.h, w.gate_up,
                          adapters.gate_up, s, pass.gradient_mode,
                          {.dy = s.fp8.d_gate_up_amax, .x = s.fp8.h_amax});
  sum_h(pass, s);
  ops.rmsnorm_backward(own_rows(s, s.d_x), dw.ffn_norm, own_rows(s, s.h), a.residual_mid,
                       a.ffn_rstd, w.ffn_norm, GradMode::accumulate, pass.gradient_mode);
}

}  // namespace lacuna
