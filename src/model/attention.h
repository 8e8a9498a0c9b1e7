#pragma once
#include "model/activations.h"
#include "model/pass.h"
#include "model/weights.h"

namespace lacuna {

// Letters and shapes as in model/activations.h. `w` are a block's weights, `dw` the gradients that
// theirs are added to.

/// s.h: in, the normalised residual stream; out, what attention adds to the stream.
void attention_forward(const Pass& pass, const BlockTensors& w, const BlockActivations& a,
                       const Scratch& s);
/// s.d_x: in, the gradient of the stream behind the attention; out, of the stream before it and its
/// norm.
void attention_backward(const Pass& pass, const BlockTensors& w, BlockTensors& dw,
                        const BlockActivations& a, const Scratch& s);

// The same for the last block: all rows are keys and values, the wanted ones ask. all.h: in, the
// normalised stream of every row; wanted.h: out, what is added to the wanted rows. wanted.d_x: in;
// all.d_x: out, the gradient of every row's stream.
void wanted_attention_forward(const Pass& pass, const BlockTensors& w, const BlockActivations& a,
                              const Scratch& all, const Scratch& wanted);
void wanted_attention_backward(const Pass& pass, const BlockTensors& w, BlockTensors& dw,
                               const BlockActivations& a, const Scratch& all,
                               const Scratch& wanted);

}  // namespace lacuna
