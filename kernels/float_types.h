#pragma once
#include "core/tensor.h"

namespace lacuna {

template <class T>
struct Type {
  using type = T;
};

/// f(Type<float>{}) or f(Type<BFloat16>{}), from a run-time dtype to the code compiled for it. The
/// dtype has been checked.
template <class F>
void visit_float(DType dtype, F&& f) {
  if (dtype == DType::bf16)
    f(Type<BFloat16>{});
  else
    f(Type<float>{});
}

}  // namespace lacuna
