#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

namespace lacuna {

void CpuOps::apply_cfg(Tensor logits, Tensor unconditional, float scale) {
  check_apply_cfg(checks("apply_cfg"), logits, unconditional);
  if (scale == 0) return;  // u + (x - u) would round
  visit_float(logits.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    auto* x = logits.as<T>();
    const auto* u = unconditional.as<T>();
    pool_.for_ranges(logits.count(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      simd_.loops<T>().extrapolate(x + begin, u + begin, scale + 1, end - begin);
    });
  });
}

}  // namespace lacuna
