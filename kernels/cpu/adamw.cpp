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
  AdamWConstants c{};
  c.gradient_scale = gradient_scale;
  c.beta1 = float(p.beta1);
  c.beta2 = float(p.beta2);
  c.one_minus_beta1 = float(1 - p.beta1);
  c.one_minus_beta2 = float(1 - p.beta2);
  c.step_size = float(p.learning_rate / (1 - std::pow(p.beta1, double(p.step))));
  c.inverse_root = float(1 / std::sqrt(1 - std::pow(p.beta2, double(p.step))));
  c.eps = float(p.eps);
  for (const AdamWPiece& x : pieces) {
    c.kept = x.decays ? float(1 - p.learning_rate * p.weight_decay) : 1;
    pool_.for_ranges(x.w.count(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      simd_.adamw(x.w.as<float>() + begin, x.m.as<float>() + begin, x.v.as<float>() + begin,
                  x.g.as<float>() + begin, c, end - begin);
    });
    if (x.rounded.data) copy(x.rounded, x.w);
  }
}

}  // namespace lacuna
