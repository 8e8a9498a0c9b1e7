#include <algorithm>
#include <cmath>

#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

namespace lacuna {

constexpr std::int64_t kPiece = 2048;

void CpuOps::adamw(const std::vector<AdamWPiece>& pieces, Tensor scale, const AdamWParameters& p) {
  check_adamw(checks("adamw"), pieces, scale, p);
  const float gradient_scale = *scale.as<float>();
  if (!std::isfinite(gradient_scale)) return;
  AdamWConstants c = adamw_constants(p);
  c.gradient_scale = gradient_scale;
  const float kept = c.kept;
  for (const AdamWPiece& x : pieces) {
    c.kept = x.decays ? kept : 1;
    visit_float(x.g.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      const auto update = [&](std::int64_t at, std::int64_t n) {
        float* w = x.w.as<float>() + at;
        simd_.loops<T>().adamw(w, x.m.as<float>() + at, x.v.as<float>() + at, x.g.as<T>() + at, c,
                               n);
        if (x.rounded.data)
          move(static_cast<char*>(x.rounded.data) + at * size_of(x.rounded.dtype), x.rounded.dtype,
               w, DType::f32, n);
      };
      // In pieces whose new weights are still in the cache when they are rounded.
      pool_.for_ranges(x.w.count(), kGrain, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t at = begin; at < end; at += kPiece)
          update(at, std::min(kPiece, end - at));
      });
    });
  }
}

}  // namespace lacuna
