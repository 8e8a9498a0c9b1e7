#include "core/philox.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/reduce.cuh"

// Each row is read once, in pieces of fixed size (so that a row's result does not depend on how
// many rows there are), a block per piece; then a warp per row puts its pieces together.

namespace lacuna {
namespace {

constexpr int kThreads = 256, kPieceThreads = 32;
constexpr std::int64_t kPiece = 8192;
constexpr float kLowest = -3.402823466e38f;

/// What is known of some of a row's logits: their maximum, the sum of exp(x - max), and the best
/// value of x plus noise, with its logit and its first place.
struct Candidate {
  double best;
  float logit, max, sum;
  std::int32_t token;
};

__device__ __forceinline__ Candidate better(const Candidate& a, const Candidate& b) {
  const bool first = a.best > b.best || (a.best == b.best && a.token < b.token);
  Candidate c = first ? a : b;
  c.max = fmaxf(a.max, b.max);
  c.sum = a.sum * expf(a.max - c.max) + b.sum * expf(b.max - c.max);
  return c;
}

/// The best of a warp, in lane 0; pairs are joined in a fixed order.
__device__ __forceinline__ Candidate warp_best(Candidate c) {
  for (unsigned by = 16; by; by /= 2) {
    Candidate other;
    other.best = __shfl_down_sync(~0u, c.best, by);
    other.logit = __shfl_down_sync(~0u, c.logit, by);
    other.max = __shfl_down_sync(~0u, c.max, by);
    other.sum = __shfl_down_sync(~0u, c.sum, by);
    other.token = __shfl_down_sync(~0u, c.token, by);
    if (threadIdx.x % kWarpSize < by) c = better(c, other);
  }
  return c;
}

/// x - temperature log(-log u), u the row's number at 64-bit position `key` V + v of the stream of
/// `step`.
struct Noise {
  std::uint64_t seed, step, position;
  double temperature;

  __device__ CounterRng stream(std::uint64_t at) const {
    return {seed, Purpose::gumbel, step | at >> 32 << 32};
  }
  __device__ double value(float x, std::int64_t v) const {
    const std::uint64_t at = position + std::uint64_t(v);
    return double(x) - temperature * log(-log(stream(at).uniform53(std::uint32_t(at))));
  }
  /// No less than value(), without f64 logarithms: with q = 1 - u rounded down to 32 bits,
  /// -log u >= 1 - u >= q, so the noise is at most -log q. (1e-4 is more than logf's error there.)
  __device__ double at_most(float x, std::int64_t v) const {
    const std::uint64_t at = position + std::uint64_t(v);
    const float q = float(~stream(at).block(std::uint32_t(at))[0]) * 0x1p-32f;
    return double(x) + temperature * double(1e-4f - logf(q));
  }
};

template <class T, int n, bool noisy>
__global__ void pieces_kernel(Candidate* pieces, const T* logits, const std::int64_t* row_keys,
                              Noise noise, std::int64_t cols) {
  __shared__ Candidate warps[kThreads / kWarpSize];
  const T* x = logits + std::int64_t{blockIdx.x} * cols;
  const std::int64_t begin = std::int64_t{blockIdx.y} * kPiece;
  const std::int64_t end = begin + kPiece < cols ? begin + kPiece : cols;
  if constexpr (noisy) noise.position = std::uint64_t(row_keys[blockIdx.x]) * std::uint64_t(cols);
  const std::int64_t mine = begin + std::int64_t{threadIdx.x} * n;
  Candidate c{-INFINITY, 0, kLowest, 0, std::int32_t(mine < end ? mine : end - 1)};
  c.logit = widen(x[c.token]);
  for (std::int64_t v = mine; v - mine < end - begin; v += kThreads * n) {
    // What some thread of this warp has found: most elements need not be compared exactly.
    const double found = noisy ? warp_max(c.best) : 0;
    if (v >= end) continue;
    const auto pack = load_pack<n>(x + v);
    float max = c.max;
    for (int j = 0; j < n; ++j) max = fmaxf(max, widen(pack.v[j]));
    c.sum *= expf(c.max - max);
    c.max = max;
    for (int j = 0; j < n; ++j) c.sum += expf(widen(pack.v[j]) - max);
    // A loop too long to unroll: the logit is read again, as a register has no index.
    for (int j = 0; j < n; ++j) {
      const float logit = widen(x[v + j]);
      if (noisy && noise.at_most(logit, v + j) < found) continue;
      const double value = noisy ? noise.value(logit, v + j) : double(logit);
      if (value > c.best) {
        c.best = value;
        c.logit = logit;
        c.token = std::int32_t(v) + j;
      }
    }
  }
  c = warp_best(c);
  if (threadIdx.x % kWarpSize == 0) warps[threadIdx.x / kWarpSize] = c;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < kThreads / kWarpSize; ++i) c = better(c, warps[i]);
  pieces[std::int64_t{blockIdx.x} * gridDim.y + blockIdx.y] = c;
}

__global__ void rows_kernel(std::int32_t* tokens, float* confidence, const Candidate* pieces,
                            int count) {
  const Candidate* row = pieces + std::int64_t{blockIdx.x} * count;
  Candidate c{-INFINITY, 0, kLowest, 0, 0x7fffffff};
  for (int i = int(threadIdx.x); i < count; i += kPieceThreads) c = better(c, row[i]);
  c = warp_best(c);
  if (threadIdx.x != 0) return;
  tokens[blockIdx.x] = c.token;
  confidence[blockIdx.x] = expf(c.logit - c.max) / c.sum;
}

}  // namespace

void CudaOps::sample_tokens(Tensor tokens, Tensor confidence, Tensor logits, Tensor row_keys,
                            const SamplingParameters& p) {
  const Checks c = checks("sample_tokens");
  const auto [rows, cols] = check_sample_tokens(c, tokens, confidence, logits, row_keys, p);
  const std::int64_t count = divided_up(cols, kPiece);
  auto* pieces = static_cast<Candidate*>(
      device_.workspace(c.op(), rows * count * std::int64_t{sizeof(Candidate)}));
  const Noise noise{p.seed, p.step, 0, p.temperature};
  visit_float(logits.dtype, [&, rows = rows, cols = cols](auto type) {
    using T = typename decltype(type)::type;
    visit_width<kPackOf<T>>(packs_fit(cols, kPackOf<T>, {logits}), [&](auto width) {
      constexpr int n = decltype(width)::value;
      launch({c.op(), dim3(unsigned(rows), unsigned(count)), kThreads, 0, stream()},
             p.temperature > 0 ? pieces_kernel<T, n, true> : pieces_kernel<T, n, false>, pieces,
             logits.as<T>(), row_keys.as<std::int64_t>(), noise, cols);
    });
  });
  launch({c.op(), dim3(unsigned(rows)), kPieceThreads, 0, stream()}, rows_kernel,
         tokens.as<std::int32_t>(), confidence.as<float>(), pieces, int(count));
}

}  // namespace lacuna
