#include "formats/rounding.h"

#include <cmath>
#include <cstring>

#include "core/check.h"
#include "core/half.h"

namespace lacuna {

void round_to(const float* from, const Tensor& out, const std::string& what) {
  const std::int64_t n = out.count();
  if (out.dtype == DType::f32) {
    std::memcpy(out.data, from, std::size_t(n) * sizeof(float));
    return;
  }
  if (out.dtype == DType::bf16) {
    auto* to = out.as<BFloat16>();
    for (std::int64_t i = 0; i < n; ++i) to[i] = to_bf16(from[i]);
    return;
  }
  auto* to = out.as<Float16>();
  for (std::int64_t i = 0; i < n; ++i) {
    to[i] = to_f16(from[i]);
    CHECK(!std::isfinite(from[i]) || std::isfinite(to_float(to[i])), what, " holds ", from[i],
          ", which f16 cannot; export as bf16 or f32");
  }
}

}  // namespace lacuna
