#pragma once
#include "model/activations.h"
#include "model/model_weights.h"
#include "model/pass.h"

namespace lacuna {

/// The feed-forward of a mixture of experts (arXiv:2409.02060), as mlp_forward(): a row's result is
/// the sum of its experts' results, in the order of the experts, so that it does not depend on the
/// other rows. Waits for the device, whose host must know how many rows each expert has.
void mixture_forward(const Pass& pass, const BlockWeights& w, const BlockActivations& a,
                     const Scratch& s);

}  // namespace lacuna
