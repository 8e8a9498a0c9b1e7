#pragma once
#include "model/activations.h"
#include "model/pass.h"
#include "model/weights.h"

namespace lacuna {

// A pre-norm block: x += attention(norm(x)), x += mlp(norm(x)). The norm before the attention and
// the last addition are left to the caller, who does both in one pass with the neighbouring block.

/// s.h: in, the attention norm of a.x; out, what the feed-forward adds to a.middle.
void block_forward(const Pass& pass, const BlockTensors& w, const BlockActivations& a,
                   const Scratch& s);
/// s.d_x: in, the gradient of the block's result; out, of a.x. Added to `dw`.
void block_backward(const Pass& pass, const BlockTensors& w, BlockTensors& dw,
                    const BlockActivations& a, const Scratch& s);

// The last block, in which only keys and values are needed of every row. all.h in, wanted.h out;
// wanted.d_x in, all.d_x out.
void last_block_forward(const Pass& pass, const BlockTensors& w, const BlockActivations& a,
                        const Scratch& all, const Scratch& wanted);
void last_block_backward(const Pass& pass, const BlockTensors& w, BlockTensors& dw,
                         const BlockActivations& a, const Scratch& all, const Scratch& wanted);

}  // namespace lacuna
