#include <cmath>
#include <limits>

#include "kernels/checks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/float_types.h"

namespace lacuna {

void CpuOps::complete_logits(Tensor column, Tensor own_targets, Tensor lse, Tensor targets,
                             int rank, std::int32_t first, std::int32_t ids) {
  const std::int64_t rows = targets.count(),
                     ranks = check_complete_logits(checks("complete_logits"), column, own_targets,
                                                   lse, targets, rank);
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto of = [&](std::int64_t r) { return double(lse.as<float>()[r * rows + row]); };
    double highest = -std::numeric_limits<double>::infinity(), sum = 0;
    for (std::int64_t r = 0; r < ranks; ++r)
      if (r != rank && !(of(r) <= highest)) highest = of(r);
    for (std::int64_t r = 0; r < ranks; ++r)
      if (r != rank) sum += std::exp(of(r) - highest);
    const auto others = float(highest + std::log(sum));
    char* const at = static_cast<char*>(column.data) + row * column.stride * size_of(column.dtype);
    move(at, column.dtype, &others, DType::f32, 1);
    const std::int32_t target = targets.as<std::int32_t>()[row] - first;
    own_targets.as<std::int32_t>()[row] = target >= 0 && target < ids ? target : ids;
  }
}

void CpuOps::keep_own_losses(Tensor loss, Tensor own_targets, std::int32_t ids) {
  const Checks c = checks("keep_own_losses");
  c.is_vector("loss", loss, own_targets.count(), DType::f32);
  c.is_vector("own_targets", own_targets, loss.count(), DType::i32);
  for (std::int64_t row = 0; row < loss.count(); ++row)
    if (own_targets.as<std::int32_t>()[row] == ids) loss.as<float>()[row] = 0;
}

}  // namespace lacuna
