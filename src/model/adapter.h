#pragma once
#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "kernels/ops.h"

namespace lacuna {

/// Low-rank adapters (LoRA, arXiv:2106.09685) of the matrices in a tensor w [O,I], one below the
/// other: y = x w^T, and of each of k matrices, for its outputs y_i, y_i += s (x A_i^T) B_i^T. Or
/// their gradients. Of a model that ranks share, this rank's parts.
struct Adapter {
  struct Part {
    Tensor b;              // [O_i,r]
    std::int64_t row = 0;  // of w, where y_i begins
  };
  Tensor a;                 // [k r,I]: the A_i, one below the other
  std::vector<Part> parts;  // empty: no matrix has one
  float scale = 1;          // s; of gradients it counts for nothing

  bool exists() const { return !parts.empty(); }
  /// Of rows [from, from + n) of w, which are whole matrices.
  Adapter row_range(std::int64_t from, std::int64_t n) const;
};

/// Of the matrices of a block.
struct BlockAdapters {
  Adapter qkv, attention_out, gate_up, ffn_out;
};

/// Room for [N,k r] elements each, as vectors.
struct AdapterScratch {
  Tensor low, d_low;  // s x A^T and its gradient; d_low in training alone
};

// N rows. Nothing where there is no adapter. A model that ranks share: where they share w's outputs
// dx and the gradient of A are of this rank's outputs, to be added up over the ranks; where its
// inputs, y and the gradient of B are of this rank's inputs.

/// y [N,O] += s (x A^T) B^T. y and x [N,I] may be strided.
void adapter_forward(Ops& ops, Tensor y, Tensor x, const Adapter& w, const AdapterScratch& scratch);
/// scratch.d_low = s dy B, for the two below. dy [N,O], may be strided.
void adapter_backward_low(Ops& ops, Tensor dy, const Adapter& w, const AdapterScratch& scratch);
/// dx [N,I] += d_low A.
void adapter_backward_input(Ops& ops, Tensor dx, const Adapter& w, const AdapterScratch& scratch);
/// dw.a (+)= d_low^T x, dw.parts[i].b (+)= s dy_i^T (x A_i^T). Overwrites scratch.low.
void adapter_backward_weight(Ops& ops, const Adapter& dw, Tensor dy, Tensor x, const Adapter& w,
                             const AdapterScratch& scratch, GradMode mode);

}  // namespace lacuna
