#pragma once
#include "model/activations.h"
#include "model/pass.h"
#include "model/weights.h"

namespace lacuna {

/// The SwiGLU feed-forward. s.h [M,C]: in, the normalised residual stream; out, what is added to
/// it.
void mlp_forward(const Pass& pass, const BlockWeights& w, const BlockActivations& a,
                 const Scratch& s);
/// s.d_x [M,C]: in, the gradient of the stream behind the feed-forward; out, of the stream before
/// it and its norm. Added to `dw`. Overwrites a.gate_up. `normed`: s.h holds the normalised stream.
void mlp_backward(const Pass& pass, const BlockWeights& w, BlockTensors& dw,
                  const BlockActivations& a, const Scratch& s, bool normed = false);

/// The first parts of the forward pass: s.h = the norm of a.residual_mid, of all rows; a.gate_up.
void norm_mlp_input(const Pass& pass, const BlockWeights& w, const BlockActivations& a,
                    const Scratch& s);
void project_gate_up(const Pass& pass, const BlockWeights& w, const BlockActivations& a,
                     const Scratch& s);

}  // namespace lacuna
