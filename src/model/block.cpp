#include "model/block.h"

#include "model/attention.h"
#include "model/mlp.h"
#include "model/sequence_parallel.h"

namespace lacuna {

void block_forward(const Pass& pass, const QueryRows& queries, const BlockWeights& w,
                   const BlockActivations& a, const Scratch& keys, const Scratch& s) {
  attention_forward(pass, queries, w, a, keys, s);
  Tensor x = a.x;
  if (!queries.are_all()) {
    pass.ops.gather_rows(a.residual_mid, a.x, queries.rows);
    x = a.residual_mid;
  }
  const Tensor h = own_rows(s, s.h);
  pass.ops.add_rmsnorm_forward(a.residual_mid, h, a.ffn_rstd, x, h, w.ffn_norm, pass.norm_eps);
  gather_rows_of(pass, s, s.h_parts);
  mlp_forward(pass, w, a, s);
}

void block_backward(const Pass& pass, const QueryRows& queries, const BlockWeights& w,
                    BlockTensors& dw, const BlockActivations& a, const Scratch& keys,
                    const Scratch& s) {
  mlp_backward(pass, w, dw, a, s);
  attention_backward(pass, queries, w, dw, a, keys, s);
}

}  // namespace lacuna
