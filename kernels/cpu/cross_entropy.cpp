#include <cmath>

#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"

namespace lacuna {

void CpuOps::cross_entropy_forward(Tensor loss, Tensor logits, Tensor targets) {
  const char* op = "cross_entropy_forward";
  const auto [rows, cols] = check_cross_entropy(Checks(op, Place::host), loss, logits, targets);
  check_indices(op, "targets", targets, cols);
  pool_.for_ranges(rows, row_grain(cols), [&, n = cols](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* x = logits.as<float>() + row * logits.stride;
      const auto [max, sum] = simd_.max_and_sum(x, n);
      const double target = double(x[targets.as<std::int32_t>()[row]]);
      loss.as<float>()[row] = float(std::log(sum) + (double(max) - target));
    }
  });
}

// Row by row, so that the second pass over a row finds it in the cache.
void CpuOps::cross_entropy_backward(Tensor loss, Tensor logits, Tensor targets, Tensor weights) {
  const Checks c("cross_entropy_backward", Place::host);
  const auto [rows, cols] = check_cross_entropy(c, loss, logits, targets);
  c.is_vector("weights", weights, rows, DType::f32);
  check_indices(c.op(), "targets", targets, cols);
  pool_.for_ranges(rows, row_grain(cols), [&, n = cols](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      float* x = logits.as<float>() + row * logits.stride;
      float& at_target = x[targets.as<std::int32_t>()[row]];
      const float target = at_target, weight = weights.as<float>()[row];
      const auto [max, sum] = simd_.max_and_sum(x, n);
      loss.as<float>()[row] = float(std::log(sum) + (double(max) - double(target)));
      simd_.scaled_exp(x, max, float(double(weight) / sum), n);
      // Once more for the target, as p - 1 loses digits when p is close to 1.
      at_target = float(double(weight) * (std::exp(double(target) - double(max)) / sum - 1.0));
    }
  });
}

}  // namespace lacuna
