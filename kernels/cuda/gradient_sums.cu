#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/pieces.cuh"
#include "kernels/cuda/random_words.cuh"

namespace lacuna {
namespace {

constexpr int kThreads = 256, kTurns = 8, kPack = 4;
constexpr std::int64_t kBlock = std::int64_t{kThreads} * kTurns * kPack;  // elements

/// A piece, and the first of the blocks that compute it.
struct Entry {
  BFloat16* sum;
  const float* x;
  std::int64_t count, first_block;
  std::int64_t packed;  // whether all of it is aligned to packs
  ElementNumbers numbers;
};

template <int n>
__device__ __forceinline__ void add(const Entry& e, std::int64_t i, bool accumulate,
                                    const GradientRounding& rounding) {
  const auto x = load_pack<n>(e.x + i);
  Pack<BFloat16, n> sum;
  if (accumulate) sum = load_pack<n>(e.sum + i);
  RandomWords words(rounding);
  for (int j = 0; j < n; ++j) {
    const float wide = accumulate ? widen(sum.v[j]) + x.v[j] : x.v[j];
    sum.v[j] = round_stochastically(wide, words[e.numbers[i + j]] & 0xffffu);
  }
  store_pack<n>(e.sum + i, sum);
}

__global__ void gradient_sums_kernel(const Entry* entries, int count, bool accumulate,
                                     GradientRounding rounding) {
  const Entry e = piece_of_block(entries, count);
  for_my_packs<kThreads, kTurns, kPack>(e, [&](auto width, std::int64_t i) {
    add<decltype(width)::value>(e, i, accumulate, rounding);
  });
}

}  // namespace

// One launch for all pieces.
void CudaOps::add_to_gradient_sums(const std::vector<GradientSumPiece>& pieces, GradMode mode,
                                   const GradientRounding& rounding) {
  const Checks c = checks("add_to_gradient_sums");
  check_gradient_sums(c, pieces, rounding);
  std::vector<Entry> entries;
  std::int64_t blocks = 0;
  for (const GradientSumPiece& p : pieces) {
    if (p.x.count() == 0) continue;
    entries.push_back({p.sum.as<BFloat16>(), p.x.as<float>(), p.x.count(), blocks,
                       aligned_to_packs(kPack, {p.sum, p.x}), p.numbers});
    blocks += divided_up(p.x.count(), kBlock);
  }
  if (entries.empty()) return;
  launch({c.op(), dim3(unsigned(blocks)), kThreads, 0, stream()}, gradient_sums_kernel,
         tables_.on_device(c.op(), entries), int(entries.size()), mode == GradMode::accumulate,
         rounding);
}

}  // namespace lacuna
