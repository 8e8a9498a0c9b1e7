#pragma once
#include <cstdint>

#include "model/model_weights.h"

namespace lacuna {

/// Room for the operands of a product in FP8, one product after the other; nothing where products
/// are of the activations' type.
struct Fp8Scratch {
  Tensor first, first_transposed,
      second;                          // u8 vectors: codes of x or dy, of dy^T, of w, w^T or x^T
  Tensor first_factor, second_factor;  // f32 [1] each, as all below
  Tensor amax;                         // of what is quantised next
  // Left by the operations that compute these tensors (Scratch); none where one tensor's rows are
  // computed in parts.
  Tensor h_amax, hidden_amax, d_gate_up_amax;

  bool exists() const { return first.data != nullptr; }
};

/// Elements of first, first_transposed and second, for products of at most `rows` rows.
struct Fp8Sizes {
  std::int64_t first = 0, first_transposed = 0, second = 0;

  /// Makes room for a product with w [outputs, inputs], and for its gradients in training.
  void add(std::int64_t rows, std::int64_t outputs, std::int64_t inputs, bool training);
};

/// Throws Error where a device has no products in FP8.
void check_fp8_device(const Ops& ops);

// Products in FP8 (Ops::quantise_fp8, multiply_fp8): w and x as e4m3, dy as e5m2, each with a scale
// of its own from what it holds now (current scaling), for each use anew. Results and gradients are
// in their own types. Of matrices that ranks share, each scales its part: with powers of two a
// scale matters only to elements some 2^-15 as large as the largest, so that ranks need not agree.
// Where `amax` has no data it is computed.

/// y [N,O] = x w^T.
void fp8_linear_forward(Ops& ops, Tensor y, Tensor x, Tensor x_amax, const PackedMatrix& w,
                        const Fp8Scratch& s);
/// dy [N,O] in both orders, for the two below.
void fp8_quantise_gradient(Ops& ops, Tensor dy, Tensor dy_amax, const Fp8Scratch& s);
/// dx [N,I] = dy w.
void fp8_linear_backward_input(Ops& ops, Tensor dx, const PackedMatrix& w, const Fp8Scratch& s);
/// dw [O,I] (+)= dy^T x.
void fp8_linear_backward_weight(Ops& ops, Tensor dw, Tensor x, Tensor x_amax, const Fp8Scratch& s,
                                GradMode mode);

}  // namespace lacuna
