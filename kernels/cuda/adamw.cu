#include "kernels/adamw_constants.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/pieces.cuh"
#include "kernels/cuda/random_words.cuh"

namespace lacuna {
namespace {

constexpr int kThreads = 256, kTurns = 8, kPack = 4;
constexpr std::int64_t kBlock = std::int64_t{kThreads} * kTurns * kPack;  // elements

/// A piece, and the first of the blocks that update it.
struct Entry {
  float* w;
  void *m, *v;
  const void* g;
  void* rounded;  // or null
  std::int64_t count, first_block;
  std::int32_t decays;
  std::int32_t packed;  // whether all of it is aligned to packs
  ElementNumbers numbers;
};

/// T, R, S: the types of the gradient, of the rounded weights and of the moments.
template <class T, class R, class S, int n>
__device__ __forceinline__ void update(const Entry& e, std::int64_t i, const AdamWConstants& c,
                                       const MomentRounding& rounding) {
  auto weight = load_pack<n>(e.w + i);
  auto mean = load_pack<n>(static_cast<S*>(e.m) + i),
       square = load_pack<n>(static_cast<S*>(e.v) + i);
  const auto gradient = load_pack<n>(static_cast<const T*>(e.g) + i);
  Pack<R, n> narrowed;
  RandomWords words(rounding);
  for (int j = 0; j < n; ++j) {
    const float d = c.gradient_scale * widen(gradient.v[j]);
    const float m = c.beta1 * widen(mean.v[j]) + c.one_minus_beta1 * d;
    const float v = c.beta2 * widen(square.v[j]) + c.one_minus_beta2 * d * d;
    const float root = sqrtf(v) * c.inverse_root;
    weight.v[j] = weight.v[j] * c.kept - c.step_size * m / (root + c.eps);
    narrowed.v[j] = narrow<R>(weight.v[j]);
    if constexpr (sizeof(S) == sizeof(float)) {
      mean.v[j] = m;
      square.v[j] = v;
    } else {
      const std::uint32_t random = words[e.numbers[i + j]];
      mean.v[j] = round_stochastically(m, random & 0xffffu);
      square.v[j] = round_stochastically(v, random >> 16);
    }
  }
  store_pack<n>(e.w + i, weight);
  store_pack<n>(static_cast<S*>(e.m) + i, mean);
  store_pack<n>(static_cast<S*>(e.v) + i, square);
  if (e.rounded) store_pack<n>(static_cast<R*>(e.rounded) + i, narrowed);
}

template <class T, class R, class S>
__global__ void adamw_kernel(const Entry* entries, int count, const float* scale, AdamWConstants c,
                             MomentRounding rounding) {
  c.gradient_scale = *scale;
  if (!isfinite(c.gradient_scale)) return;
  const Entry e = piece_of_block(entries, count);
  if (!e.decays) c.kept = 1;
  for_my_packs<kThreads, kTurns, kPack>(e, [&](auto width, std::int64_t i) {
    update<T, R, S, decltype(width)::value>(e, i, c, rounding);
  });
}

}  // namespace

// One launch for all pieces.
void CudaOps::adamw(const std::vector<AdamWPiece>& pieces, Tensor scale, const AdamWParameters& p) {
  const Checks c = checks("adamw");
  check_adamw(c, pieces, scale, p);
  std::vector<Entry> entries;
  std::int64_t blocks = 0;
  for (const AdamWPiece& x : pieces) {
    if (x.w.count() == 0) continue;
    entries.push_back({x.w.as<float>(), x.m.data, x.v.data, x.g.data, x.rounded.data, x.w.count(),
                       blocks, x.decays, aligned_to_packs(kPack, {x.w, x.m, x.v, x.g, x.rounded}),
                       x.numbers});
    blocks += divided_up(x.w.count(), kBlock);
  }
  if (entries.empty()) return;
  const Entry* table = tables_.on_device(c.op(), entries);
  const MomentRounding rounding{p.seed, std::uint64_t(p.step)};
  visit_float(pieces.front().g.dtype, [&](auto type) {
    visit_float(pieces.front().rounded.dtype, [&](auto rounded_type) {
      visit_float(pieces.front().m.dtype, [&](auto moments_type) {
        using T = typename decltype(type)::type;
        using R = typename decltype(rounded_type)::type;
        using S = typename decltype(moments_type)::type;
        launch({c.op(), dim3(unsigned(blocks)), kThreads, 0, stream()}, adamw_kernel<T, R, S>,
               table, int(entries.size()), scale.as<float>(), adamw_constants(p), rounding);
      });
    });
  });
}

}  // namespace lacuna
