#include "training/newton_schulz.h"

#include <algorithm>

namespace lacuna {
namespace {

constexpr int kSteps = 5;
constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;
// Norms below this are not scaled up to 1; no gradient that trains is so small.
constexpr float kLeastNorm = 1e-10f;

// The slots of the plan, in its order.
constexpr Slot kSum{0}, kScale{1}, kGram{2}, kPolynomial{3}, kProduct{4}, kRounded{5};

}  // namespace

Plan NewtonSchulz::plan(std::int64_t elements, std::int64_t side, DType dtype) {
  Plan plan;
  plan.add("orthogonalisation/sum_of_squares", {1}, DType::f64);
  plan.add("orthogonalisation/scale", {1}, DType::f32);
  plan.add("orthogonalisation/gram", {side * side}, dtype);
  plan.add("orthogonalisation/polynomial", {side * side}, dtype);
  plan.add("orthogonalisation/product", {elements}, dtype);
  if (dtype != DType::f32) plan.add("orthogonalisation/rounded", {elements}, dtype);
  return plan;
}

NewtonSchulz::NewtonSchulz(Ops& ops, std::int64_t elements, std::int64_t side, DType dtype)
    : ops_(ops), dtype_(dtype), arena_(ops.memory(), plan(elements, side, dtype)) {}

Tensor NewtonSchulz::matrix(Slot slot, std::int64_t rows, std::int64_t cols) const {
  return arena_[slot].row_range(0, rows * cols).reshaped({rows, cols});
}

void NewtonSchulz::orthogonalise(Tensor x) {
  const std::int64_t rows = x.rows(), cols = x.cols(), side = std::min(rows, cols);
  const Tensor sum = arena_[kSum], scale = arena_[kScale];
  ops_.add_squares(sum, {x}, 1, GradMode::overwrite);
  // min(1, least / norm), so that 1 / least times it is 1 / max(norm, least).
  ops_.clip_scale(scale, sum, kLeastNorm);
  ops_.axpby(x, 1 / kLeastNorm, x, 0, scale);

  const Tensor gram = matrix(kGram, side, side), polynomial = matrix(kPolynomial, side, side),
               product = matrix(kProduct, rows, cols);
  const bool rounds = dtype_ != DType::f32;
  const Tensor y = rounds ? matrix(kRounded, rows, cols) : x;
  if (rounds) ops_.copy(y, x);
  for (int step = 0; step < kSteps; ++step) {
    if (rows <= cols)
      ops_.linear_forward(gram, y, y, GradMode::overwrite);
    else
      ops_.linear_backward_weight(gram, y, y, GradMode::overwrite);
    // Symmetric, so that A A^T is A^2.
    ops_.linear_forward(polynomial, gram, gram, GradMode::overwrite);
    ops_.axpby(polynomial, kB, gram, kC);
    if (rows <= cols)
      ops_.linear_backward_input(product, polynomial, y, GradMode::overwrite);
    else
      ops_.linear_forward(product, y, polynomial, GradMode::overwrite);
    ops_.axpby(y, 1, product, kA);
  }
  if (rounds) ops_.copy(x, y);
}

}  // namespace lacuna
