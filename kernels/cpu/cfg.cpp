#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"

namespace lacuna {

void CpuOps::apply_cfg(Tensor logits, Tensor unconditional, float scale) {
  check_apply_cfg(Checks("apply_cfg", Place::host), logits, unconditional);
  if (scale == 0) return;  // u + (x - u) would round
  auto* x = logits.as<float>();
  const auto* u = unconditional.as<float>();
  pool_.for_ranges(logits.count(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    simd_.extrapolate(x + begin, u + begin, scale + 1, end - begin);
  });
}

}  // namespace lacuna
