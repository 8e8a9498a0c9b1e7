#pragma once
#include "core/tensor.h"
#include "kernels/float_types.h"

namespace lacuna {

/// f(Type<E4M3>{}) or f(Type<E5M2>{}), as visit_float.
template <class F>
void visit_fp8(DType dtype, F&& f) {
  if (dtype == DType::e5m2)
    f(Type<E5M2>{});
  else
    f(Type<E4M3>{});
}

}  // namespace lacuna
