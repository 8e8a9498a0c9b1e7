#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"

namespace lacuna {
namespace {

constexpr int kThreads = 256;

template <class T, int n>
__global__ void cfg_kernel(T* logits, const T* unconditional, float factor, std::int64_t count) {
  for_my_pack<n>(count, [&](auto width, std::int64_t i) {
    constexpr int kWidth = decltype(width)::value;
    auto x = load_pack<kWidth>(logits + i);
    const auto u = load_pack<kWidth>(unconditional + i);
    for (int j = 0; j < kWidth; ++j) {
      const float other = widen(u.v[j]);
      x.v[j] = narrow<T>(other + factor * (widen(x.v[j]) - other));
    }
    store_pack<kWidth>(logits + i, x);
  });
}

}  // namespace

void CudaOps::apply_cfg(Tensor logits, Tensor unconditional, float scale) {
  const Checks c = checks("apply_cfg");
  check_apply_cfg(c, logits, unconditional);
  if (scale == 0) return;
  visit_float(logits.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const bool fits = aligned_to_packs(kPackOf<T>, {logits, unconditional});
    visit_width<kPackOf<T>>(fits, [&](auto width) {
      constexpr int n = decltype(width)::value;
      launch({c.op(), blocks_for_vector(logits.count(), kThreads, n), kThreads, 0, stream()},
             cfg_kernel<T, n>, logits.as<T>(), unconditional.as<T>(), scale + 1, logits.count());
    });
  });
}

}  // namespace lacuna
