#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

namespace lacuna {

void CpuOps::swiglu_forward(Tensor y, Tensor gate_up, Tensor amax) {
  const auto [rows, cols] = check_swiglu_forward(checks("swiglu_forward"), y, gate_up);
  visit_float(y.dtype, [&, rows = rows, n = cols](auto type) {
    using T = typename decltype(type)::type;
    pool_.for_ranges(rows, row_grain(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const T* gate = gate_up.as<T>() + row * 2 * n;
        simd_.loops<T>().swiglu(y.as<T>() + row * n, gate, gate + n, n);
      }
    });
  });
  if (amax.data) absolute_maximum(amax, y);
}

void CpuOps::swiglu_backward(Tensor d_gate_up, Tensor y, Tensor dy, Tensor gate_up, Tensor d_amax,
                             Tensor y_amax) {
  const auto [rows, cols] =
      check_swiglu_backward(checks("swiglu_backward"), d_gate_up, y, dy, gate_up);
  visit_float(y.dtype, [&, rows = rows, n = cols](auto type) {
    using T = typename decltype(type)::type;
    pool_.for_ranges(rows, row_grain(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const T* gate = gate_up.as<T>() + row * 2 * n;
        T* d_gate = d_gate_up.as<T>() + row * 2 * n;
        simd_.loops<T>().swiglu_backward(d_gate, d_gate + n, y.as<T>() + row * n,
                                         dy.as<T>() + row * n, gate, gate + n, n);
      }
    });
  });
  if (d_amax.data) absolute_maximum(d_amax, d_gate_up);
  if (y_amax.data) absolute_maximum(y_amax, y);
}

}  // namespace lacuna
