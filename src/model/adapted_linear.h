#pragma once
#include "model/activations.h"
#include "model/adapter.h"
#include "model/model_weights.h"

namespace lacuna {

// Products with a weight w and what an adapter of w adds to them, where there is one. N rows.

/// y [N,O] = x w^T. `w` is a Matrix or a PackedMatrix.
template <class W>
void adapted_linear_forward(Ops& ops, Tensor y, Tensor x, const W& w, const Adapter& adapter,
                            const Scratch& s) {
  linear_forward(ops, y, x, w, s.dequantised);
  adapter_forward(ops, y, x, adapter, s.adapters);
}

/// Given dy, after adapter_backward_low(): dx [N,I] = dy w.
template <class W>
void adapted_linear_backward_input(Ops& ops, Tensor dx, Tensor dy, const W& w,
                                   const Adapter& adapter, const Scratch& s) {
  linear_backward_input(ops, dx, dy, w, s.dequantised);
  adapter_backward_input(ops, dx, adapter, s.adapters);
}

/// Given dy, after adapter_backward_low(): adds to dw, unless it has no data, as w is frozen; and
/// to d_adapter.
inline void adapted_linear_backward_weight(Ops& ops, Tensor dw, const Adapter& d_adapter, Tensor dy,
                                           Tensor x, const Adapter& adapter, const Scratch& s) {
  if (dw.data) ops.linear_backward_weight(dw, dy, x);
  adapter_backward_weight(ops, d_adapter, dy, x, adapter, s.adapters);
}

/// All of them. dx may be x.
template <class W>
void adapted_linear_backward(Ops& ops, Tensor dx, Tensor dw, const Adapter& d_adapter, Tensor dy,
                             Tensor x, const W& w, const Adapter& adapter, const Scratch& s) {
  adapter_backward_low(ops, dy, adapter, s.adapters);
  adapted_linear_backward_weight(ops, dw, d_adapter, dy, x, adapter, s);  // before dx overwrites x
  adapted_linear_backward_input(ops, dx, dy, w, adapter, s);
}

}  // namespace lacuna
