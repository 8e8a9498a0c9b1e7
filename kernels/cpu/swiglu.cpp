#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"

namespace lacuna {

void CpuOps::swiglu_forward(Tensor y, Tensor gate_up) {
  const auto [rows, cols] = check_swiglu_forward(Checks("swiglu_forward", Place::host), y, gate_up);
  pool_.for_ranges(rows, row_grain(cols), [&, n = cols](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* gate = gate_up.as<float>() + row * 2 * n;
      simd_.swiglu(y.as<float>() + row * n, gate, gate + n, n);
    }
  });
}

void CpuOps::swiglu_backward(Tensor d_gate_up, Tensor y, Tensor dy, Tensor gate_up) {
  const auto [rows, cols] =
      check_swiglu_backward(Checks("swiglu_backward", Place::host), d_gate_up, y, dy, gate_up);
  pool_.for_ranges(rows, row_grain(cols), [&, n = cols](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* gate = gate_up.as<float>() + row * 2 * n;
      float* d_gate = d_gate_up.as<float>() + row * 2 * n;
      simd_.swiglu_backward(d_gate, d_gate + n, y.as<float>() + row * n, dy.as<float>() + row * n,
                            gate, gate + n, n);
    }
  });
}

}  // namespace lacuna
