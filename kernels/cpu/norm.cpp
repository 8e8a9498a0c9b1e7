#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/checks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

namespace lacuna {

// In pieces of fixed size, added in order: the same sum whatever the number of threads.
void CpuOps::add_squares(Tensor sum, const std::vector<Tensor>& tensors, double factor,
                         GradMode mode) {
  check_add_squares(checks("add_squares"), sum, tensors);
  constexpr std::int64_t kPiece = 32768;
  double& result = *sum.as<double>();
  if (mode == GradMode::overwrite) result = 0;
  std::vector<double> parts;
  for (const Tensor& x : tensors) {
    const std::int64_t n = x.count();
    parts.assign(std::size_t((n + kPiece - 1) / kPiece), 0);
    visit_float(x.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      const auto* from = x.as<T>();
      pool_.for_ranges(std::int64_t(parts.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i)
          parts[std::size_t(i)] =
              simd_.loops<T>().sum_of_squares(from + i * kPiece, std::min(kPiece, n - i * kPiece));
      });
    });
    double total = 0;
    for (const double part : parts) total += part;
    result += factor * total;
  }
}

void CpuOps::clip_scale(Tensor scale, Tensor sum, float max_norm) {
  const Checks c = checks("clip_scale");
  c.is_vector("scale", scale, 1, DType::f32);
  c.is_vector("sum", sum, 1, DType::f64);
  const double norm = std::sqrt(*sum.as<double>());
  float& out = *scale.as<float>();
  if (!std::isfinite(norm))
    out = std::numeric_limits<float>::quiet_NaN();
  else
    out = max_norm == 0 || norm <= double(max_norm) ? 1.0f : float(double(max_norm) / norm);
}

}  // namespace lacuna
