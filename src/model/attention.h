#pragma once
#include "model/activations.h"
#include "model/pass.h"
#include "model/weights.h"

namespace lacuna {

// Letters and shapes as in model/activations.h. `w` are a block's weights, `dw` the gradients that
// theirs are added to. `keys` is scratch of the N rows that are keys and values, `s` of the M that
// are queries: the same where queries.are_all().

/// keys.h: in, the normalised residual stream; s.h: out, what attention adds to the queries'
/// stream.
void attention_forward(const Pass& pass, const QueryRows& queries, const BlockWeights& w,
                       const BlockActivations& a, const Scratch& keys, const Scratch& s);
/// s.d_x: in, the gradient of the queries' stream behind the attention; keys.d_x: out, of all rows'
/// stream before it and its norm.
void attention_backward(const Pass& pass, const QueryRows& queries, const BlockWeights& w,
                        BlockTensors& dw, const BlockActivations& a, const Scratch& keys,
                        const Scratch& s);

/// What the backward pass needs of the forward pass and did not keep: keys.h = the norm of a.x, of
/// all rows, and a.qkv again. Where all rows are queries.
void norm_attention_input(const Pass& pass, const BlockWeights& w, const BlockActivations& a,
                          const Scratch& keys);
void recompute_qkv(const Pass& pass, const QueryRows& queries, const BlockWeights& w,
                   const BlockActivations& a, const Scratch& keys);

}  // namespace lacuna
