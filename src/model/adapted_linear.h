#pragma once
#include "model/activations.h"
#include "model/adapter.h"
#include "model/fp8_linear.h"
#include "model/model_weights.h"

namespace lacuna {

// Products with a weight w, in FP8 where the scratch has room for that, and what an adapter of w
// adds to them, where there is one. N rows. x_amax and dy_amax, f32 [1]: the largest magnitudes of
// x and dy, where they are known; of products in FP8 alone.

inline const PackedMatrix& packed_of(const PackedMatrix& w) { return w; }
inline PackedMatrix packed_of(const Matrix& w) { return {{w}}; }

/// y [N,O] = x w^T. `w` is a Matrix or a PackedMatrix.
template <class W>
void adapted_linear_forward(Ops& ops, Tensor y, Tensor x, const W& w, const Adapter& adapter,
                            const Scratch& s, Tensor x_amax = {}) {
  if (s.fp8.exists())
    fp8_linear_forward(ops, y, x, x_amax, packed_of(w), s.fp8);
  else
    linear_forward(ops, y, x, w, s.dequantised);
  adapter_forward(ops, y, x, adapter, s.adapters);
}

/// What the two below need of dy [N,O].
inline void begin_adapted_linear_backward(Ops& ops, Tensor dy, const Adapter& adapter,
                                          const Scratch& s, Tensor dy_amax = {}) {
  if (s.fp8.exists()) fp8_quantise_gradient(ops, dy, dy_amax, s.fp8);
  adapter_backward_low(ops, dy, adapter, s.adapters);
}

/// dx [N,I] = dy w.
template <class W>
void adapted_linear_backward_input(Ops& ops, Tensor dx, Tensor dy, const W& w,
                                   const Adapter& adapter, const Scratch& s) {
  if (s.fp8.exists())
    fp8_linear_backward_input(ops, dx, packed_of(w), s.fp8);
  else
    linear_backward_input(ops, dx, dy, w, s.dequantised);
  adapter_backward_input(ops, dx, adapter, s.adapters);
}

/// The gradients dw, unless it has no data, as w is frozen, and d_adapter, by `mode`.
inline void adapted_linear_backward_weight(Ops& ops, Tensor dw, const Adapter& d_adapter, Tensor dy,
                                           Tensor x, const Adapter& adapter, const Scratch& s,
                                           GradMode mode, Tensor x_amax = {}) {
  if (dw.data && s.fp8.exists())
    fp8_linear_backward_weight(ops, dw, x, x_amax, s.fp8, mode);
  else if (dw.data)
    ops.linear_backward_weight(dw, dy, x, mode);
  adapter_backward_weight(ops, d_adapter, dy, x, adapter, s.adapters, mode);
}

/// The largest magnitudes of a backward pass, where they are known.
struct BackwardAmax {
  Tensor dy = {}, x = {};
};

/// All of them. dx may be x.
template <class W>
void adapted_linear_backward(Ops& ops, Tensor dx, Tensor dw, const Adapter& d_adapter, Tensor dy,
                             Tensor x, const W& w, const Adapter& adapter, const Scratch& s,
                             GradMode mode, const BackwardAmax& amax = {}) {
  begin_adapted_linear_backward(ops, dy, adapter, s, amax.dy);
  // Before dx overwrites x.
  adapted_linear_backward_weight(ops, dw, d_adapter, dy, x, adapter, s, mode, amax.x);
  adapted_linear_backward_input(ops, dx, dy, w, adapter, s);
}

}  // namespace lacuna
