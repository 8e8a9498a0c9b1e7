#include <cmath>

#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

namespace lacuna {
void CpuOps::cross_entropy_forward(Tensor loss, Tensor logits, Tensor targets) {
  const char* op = "cross_entropy_forward";
  const auto [rows, cols] = check_cross_entropy(checks(op), loss, logits, targets);
  check_indices(op, "targets", targets, cols);
  visit_float(logits.dtype, [&, rows = rows, n = cols](auto type) {
    using T = typename decltype(type)::type;
    const FloatLoops<T>& loops = simd_.loops<T>();
    pool_.for_ranges(rows, row_grain(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const T* x = logits.as<T>() + row * logits.stride;
        const auto [max, sum] = loops.max_and_sum(x, n);
        float target;
        loops.widen(&target, x + targets.as<std::int32_t>()[row], 1);
        loss.as<float>()[row] = float(std::log(sum) + (double(max) - double(target)));
      }
    });
  });
}

// Row by row, so that the second pass over a row finds it in the cache.
void CpuOps::cross_entropy_backward(Tensor loss, Tensor logits, Tensor targets, Tensor weights) {
  const Checks c = checks("cross_entropy_backward");
  const auto [rows, cols] = check_cross_entropy(c, loss, logits, targets);
  c.is_vector("weights", weights, rows, DType::f32);
  check_indices(c.op(), "targets", targets, cols);
  visit_float(logits.dtype, [&, rows = rows, n = cols](auto type) {
    using T = typename decltype(type)::type;
    const FloatLoops<T>& loops = simd_.loops<T>();
    pool_.for_ranges(rows, row_grain(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        T* x = logits.as<T>() + row * logits.stride;
        const std::int64_t at = targets.as<std::int32_t>()[row];
        const float weight = weights.as<float>()[row];
        float target;
        loops.widen(&target, x + at, 1);
        const auto [max, sum] = loops.max_and_sum(x, n);
        loss.as<float>()[row] = float(std::log(sum) + (double(max) - double(target)));
        loops.scaled_exp(x, max, float(double(weight) / sum), n);
        // Once more for the target, as p - 1 loses digits when p is close to 1.
        const auto at_target =
            float(double(weight) * (std::exp(double(target) - double(max)) / sum - 1.0));
        loops.round(x + at, &at_target, 1);
      }
    });
  });
}

}  // namespace lacuna
