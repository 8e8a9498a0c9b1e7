#include "kernels/adamw_constants.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"

namespace lacuna {
namespace {

constexpr int kThreads = 256, kTurns = 8, kPack = 4;
constexpr std::int64_t kBlock = std::int64_t{kThreads} * kTurns * kPack;  // elements

/// A piece, and the first of the blocks that update it.
struct Entry {
  float *w, *m, *v;
  const void* g;
  void* rounded;  // or null
  std::int64_t count, first_block;
  bool decays;
  bool packed;  // all of it is aligned to packs
};

/// The piece that this block updates: the last one that begins at it or before.
__device__ __forceinline__ Entry my_entry(const Entry* entries, int count) {
  int low = 0, high = count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (entries[middle].first_block <= std::int64_t{blockIdx.x})
      low = middle;
    else
      high = middle - 1;
  }
  return entries[low];
}

template <class T, class R, int n>
__device__ __forceinline__ void update(const Entry& e, std::int64_t i, const AdamWConstants& c) {
  auto weight = load_pack<n>(e.w + i), mean = load_pack<n>(e.m + i), square = load_pack<n>(e.v + i);
  const auto gradient = load_pack<n>(static_cast<const T*>(e.g) + i);
  Pack<R, n> narrowed;
  for (int j = 0; j < n; ++j) {
    const float d = c.gradient_scale * widen(gradient.v[j]);
    mean.v[j] = c.beta1 * mean.v[j] + c.one_minus_beta1 * d;
    square.v[j] = c.beta2 * square.v[j] + c.one_minus_beta2 * d * d;
    const float root = sqrtf(square.v[j]) * c.inverse_root;
    weight.v[j] = weight.v[j] * c.kept - c.step_size * mean.v[j] / (root + c.eps);
    narrowed.v[j] = narrow<R>(weight.v[j]);
  }
  store_pack<n>(e.w + i, weight);
  store_pack<n>(e.m + i, mean);
  store_pack<n>(e.v + i, square);
  if (e.rounded) store_pack<n>(static_cast<R*>(e.rounded) + i, narrowed);
}

template <class T, class R>
__global__ void adamw_kernel(const Entry* entries, int count, const float* scale,
                             AdamWConstants c) {
  c.gradient_scale = *scale;
  if (!isfinite(c.gradient_scale)) return;
  const Entry e = my_entry(entries, count);
  if (!e.decays) c.kept = 1;
  const std::int64_t begin = (std::int64_t{blockIdx.x} - e.first_block) * kBlock;
  for (int turn = 0; turn < kTurns; ++turn) {
    const std::int64_t i = begin + std::int64_t{turn * kThreads + int(threadIdx.x)} * kPack;
    if (e.packed && i + kPack <= e.count) {
      update<T, R, kPack>(e, i, c);
    } else {
      for (std::int64_t j = i; j < e.count && j < i + kPack; ++j) update<T, R, 1>(e, j, c);
    }
  }
}

}  // namespace

// One launch for all pieces: the table of them goes to the device first.
void CudaOps::adamw(const std::vector<AdamWPiece>& pieces, Tensor scale, const AdamWParameters& p) {
  const Checks c = checks("adamw");
  check_adamw(c, pieces, scale, p);
  std::vector<Entry> entries;
  std::int64_t blocks = 0;
  for (const AdamWPiece& x : pieces) {
    if (x.w.count() == 0) continue;
    entries.push_back({x.w.as<float>(), x.m.as<float>(), x.v.as<float>(), x.g.data, x.rounded.data,
                       x.w.count(), blocks, x.decays,
                       aligned_to_packs(kPack, {x.w, x.m, x.v, x.g, x.rounded})});
    blocks += divided_up(x.w.count(), kBlock);
  }
  if (entries.empty()) return;
  const auto bytes = std::int64_t(entries.size() * sizeof(Entry));
  void* table = device_.workspace(c.op(), bytes);
  device_.copy(c.op(), table, Place::device, bytes, entries.data(), Place::host, bytes, bytes, 1);
  visit_float(pieces.front().g.dtype, [&](auto type) {
    visit_float(pieces.front().rounded.dtype, [&](auto rounded_type) {
      using T = typename decltype(type)::type;
      using R = typename decltype(rounded_type)::type;
      launch({c.op(), dim3(unsigned(blocks)), kThreads, 0, stream()}, adamw_kernel<T, R>,
             static_cast<const Entry*>(table), int(entries.size()), scale.as<float>(),
             adamw_constants(p));
    });
  });
}

}  // namespace lacuna
