#include <cmath>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"

namespace lacuna {
namespace {

constexpr int kThreads = 256;

/// Worked out once per call, in f64.
struct Constants {
  float beta1, beta2, one_minus_beta1, one_minus_beta2;
  float step_size;     // learning rate / (1 - beta1^step)
  float inverse_root;  // 1 / sqrt(1 - beta2^step)
  float eps, kept;     // kept = 1 - learning rate * decay
};

template <class T, int n>
__global__ void adamw_kernel(float* w, float* m, float* v, const T* g, const float* scale,
                             Constants c, std::int64_t count) {
  const float factor = *scale;
  if (!isfinite(factor)) return;
  for_my_pack<n>(count, [&](auto width, std::int64_t i) {
    constexpr int kWidth = decltype(width)::value;
    auto weight = load_pack<kWidth>(w + i), mean = load_pack<kWidth>(m + i),
         square = load_pack<kWidth>(v + i);
    const auto gradient = load_pack<kWidth>(g + i);
    for (int j = 0; j < kWidth; ++j) {
      const float d = factor * widen(gradient.v[j]);
      mean.v[j] = c.beta1 * mean.v[j] + c.one_minus_beta1 * d;
      square.v[j] = c.beta2 * square.v[j] + c.one_minus_beta2 * d * d;
      const float root = sqrtf(square.v[j]) * c.inverse_root;
      weight.v[j] = weight.v[j] * c.kept - c.step_size * mean.v[j] / (root + c.eps);
    }
    store_pack<kWidth>(w + i, weight);
    store_pack<kWidth>(m + i, mean);
    store_pack<kWidth>(v + i, square);
  });
}

}  // namespace

void CudaOps::adamw(Tensor w, Tensor m, Tensor v, Tensor g, Tensor scale,
                    const AdamWParameters& p) {
  const Checks c = checks("adamw");
  check_adamw(c, w, m, v, g, scale, p);
  Constants k{};
  k.beta1 = float(p.beta1);
  k.beta2 = float(p.beta2);
  k.one_minus_beta1 = float(1 - p.beta1);
  k.one_minus_beta2 = float(1 - p.beta2);
  k.step_size = float(p.learning_rate / (1 - std::pow(p.beta1, double(p.step))));
  k.inverse_root = float(1 / std::sqrt(1 - std::pow(p.beta2, double(p.step))));
  k.eps = float(p.eps);
  k.kept = float(1 - p.learning_rate * p.weight_decay);
  visit_float(g.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    visit_width<4>(aligned_to_packs(4, {w, m, v, g}), [&](auto width) {
      constexpr int n = decltype(width)::value;
      launch({c.op(), blocks_for_vector(g.count(), kThreads, n), kThreads, 0, stream()},
             adamw_kernel<T, n>, w.as<float>(), m.as<float>(), v.as<float>(), g.as<T>(),
             scale.as<float>(), k, g.count());
    });
  });
}

}  // namespace lacuna
