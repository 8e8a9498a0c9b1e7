#pragma once
#include "model/activations.h"
#include "model/pass.h"
#include "model/weights.h"

namespace lacuna {

// A pre-norm block: x += attention(norm(x)), x += mlp(norm(x)). The norm before the attention and
// the last addition are left to the caller, who does both in one pass with the neighbouring block.

// Keys and values are of all rows, `keys`; what follows the attention is of the queries' rows, `s`:
// the same but in the last block, where only the rows that get logits are queries.

/// keys.h: in, the attention norm of a.x; s.h: out, what the feed-forward adds to a.middle.
void block_forward(const Pass& pass, const QueryRows& queries, const BlockWeights& w,
                   const BlockActivations& a, const Scratch& keys, const Scratch& s);
/// s.d_x: in, the gradient of the block's result; keys.d_x: out, of a.x. Added to `dw`.
/// `recompute`: what of `a` another block has overwritten.
void block_backward(const Pass& pass, const QueryRows& queries, const BlockWeights& w,
                    BlockTensors& dw, const BlockActivations& a, const Scratch& keys,
                    const Scratch& s, const Recompute& recompute = {});

}  // namespace lacuna
