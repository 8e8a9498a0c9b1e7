#include "model/block.h"

#include "model/attention.h"
#include "model/mlp.h"
#include "model/split_rows.h"

namespace lacuna {

void block_forward(const Pass& pass, const BlockTensors& w, const BlockActivations& a,
                   const Scratch& s) {
  attention_forward(pass, w, a, s);
  const Tensor h = own_rows(s, s.h);
  pass.ops.add_rmsnorm_forward(a.middle, h, a.ffn_rstd, a.x, h, w.ffn_norm, pass.norm_eps);
  gather_rows_of(pass, s, s.h_parts);
  mlp_forward(pass, w, a, s);
}

void block_backward(const Pass& pass, const BlockTensors& w, BlockTensors& dw,
                    const BlockActivations& a, const Scratch& s) {
  mlp_backward(pass, w, dw, a, s);
  attention_backward(pass, w, dw, a, s);
}

void last_block_forward(const Pass& pass, const BlockTensors& w, const BlockActivations& a,
                        const Scratch& all, const Scratch& wanted) {
  wanted_attention_forward(pass, w, a, all, wanted);
  pass.ops.gather_rows(a.middle, a.x, pass.sequences.wanted_rows);
  pass.ops.add_rmsnorm_forward(a.middle, wanted.h, a.ffn_rstd, a.middle, wanted.h, w.ffn_norm,
                               pass.norm_eps);
  mlp_forward(pass, w, a, wanted);
}

void last_block_backward(const Pass& pass, const BlockTensors& w, BlockTensors& dw,
                         const BlockActivations& a, const Scratch& all, const Scratch& wanted) {
  mlp_backward(pass, w, dw, a, wanted);
  wanted_attention_backward(pass, w, dw, a, all, wanted);
}

}  // namespace lacuna
