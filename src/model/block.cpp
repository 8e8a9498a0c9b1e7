#include "model/block.h"

#include "model/attention.h"
#include "model/mixture_of_experts.h"
#include "model/mlp.h"
#include "model/sequence_parallel.h"

namespace lacuna {
namespace {

/// From the attention norm in keys.h to that of the feed-forward's input in s.h.
void forward_to_mlp(const Pass& pass, const QueryRows& queries, const BlockWeights& w,
                    const BlockActivations& a, const Scratch& keys, const Scratch& s) {
  attention_forward(pass, queries, w, a, keys, s);
  Tensor x = a.x;
  if (!queries.are_all()) {
    pass.ops.gather_rows(a.residual_mid, a.x, queries.rows);
    x = a.residual_mid;
  }
  const Tensor h = own_rows(s, s.h);
  pass.ops.add_rmsnorm_forward(a.residual_mid, h, a.ffn_rstd, x, h, w.ffn_norm, pass.norm_eps,
                               s.fp8.h_amax);
  gather_rows_of(pass, s, s.h_parts);
}

}  // namespace

void block_forward(const Pass& pass, const QueryRows& queries, const BlockWeights& w,
                   const BlockActivations& a, const Scratch& keys, const Scratch& s) {
  forward_to_mlp(pass, queries, w, a, keys, s);
  if (w.experts.empty())
    mlp_forward(pass, w, a, s);
  else
    mixture_forward(pass, w, a, s);
}

void block_backward(const Pass& pass, const QueryRows& queries, const BlockWeights& w,
                    BlockTensors& dw, const BlockActivations& a, const Scratch& keys,
                    const Scratch& s, const Recompute& recompute) {
  const bool gate_up = recompute.block || recompute.gate_up;
  if (recompute.block) {
    norm_attention_input(pass, w, a, keys);
    forward_to_mlp(pass, queries, w, a, keys, s);
  } else if (recompute.gate_up) {
    norm_mlp_input(pass, w, a, s);
  }
  if (gate_up) project_gate_up(pass, w, a, s);
  mlp_backward(pass, w, dw, a, s, gate_up);
  if (recompute.qkv && !recompute.block) recompute_qkv(pass, queries, w, a, keys);
  attention_backward(pass, queries, w, dw, a, keys, s);
}

}  // namespace lacuna
