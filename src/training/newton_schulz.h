#pragma once
#include <cstdint>
#include <string>

#include "core/arena.h"
#include "kernels/ops.h"

namespace lacuna {

/// Orthogonalises matrices: of X = U S V^T it makes nearly U V^T, by five steps of a Newton-Schulz
/// iteration whose polynomial brings singular values to about 1 fast (to 0.7 … 1.2) instead of
/// exactly in the limit (Jordan et al., Muon, kellerjordan.github.io/posts/muon):
///   X = X / |X|, then X = a X + (b A + c A^2) X with A = X X^T, or X (b A + c A^2) with A = X^T X
///   where there are more rows than columns; a, b, c = 3.4445, -4.7750, 2.0315.
class NewtonSchulz {
 public:
  /// For matrices of at most so many elements, whose shorter side is at most `side`. Products are
  /// of `dtype`.
  NewtonSchulz(Ops& ops, std::int64_t elements, std::int64_t side, DType dtype);
  static Plan plan(std::int64_t elements, std::int64_t side, DType dtype);

  /// x f32 [m,n], contiguous, in place. Queued. Zeros stay zeros.
  void orthogonalise(Tensor x);
  std::int64_t bytes() const { return arena_.plan().bytes(); }

 private:
  Tensor matrix(Slot slot, std::int64_t rows, std::int64_t cols) const;

  Ops& ops_;
  const DType dtype_;
  Arena arena_;
};

}  // namespace lacuna
