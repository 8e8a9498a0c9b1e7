#include <cmath>

#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"

namespace lacuna {

void CpuOps::adamw(const std::vector<AdamWPiece>& pieces, Tensor scale, const AdamWParameters& p) {
  check_adamw(Checks("adamw", Place::host), pieces, scale, p);
  const float gradient_scale = *scale.as<float>();
  if (!std::isfinite(gradient_scale)) return;
  AdamWConstants c = adamw_constants(p);
  c.gradient_scale = gradient_scale;
  const float kept = c.kept;
  for (const AdamWPiece& x : pieces) {
    c.kept = x.decays ? kept : 1;
    pool_.for_ranges(x.w.count(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      simd_.adamw(x.w.as<float>() + begin, x.m.as<float>() + begin, x.v.as<float>() + begin,
                  x.g.as<float>() + begin, c, end - begin);
    });
    if (x.rounded.data) copy(x.rounded, x.w);
  }
}

}  // namespace lacuna
