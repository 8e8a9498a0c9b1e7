#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/reduce.cuh"

namespace lacuna {
namespace {

struct RoutedExpert {
  std::int32_t expert;
  float weight;
};

/// Of two experts the one that is chosen first: the more probable, of equal ones the first, of NaN
/// ones the first. -1: none.
__device__ __forceinline__ RoutedExpert preferred(RoutedExpert a, RoutedExpert b) {
  if (a.expert < 0) return b;
  if (b.expert < 0 || a.weight > b.weight) return a;
  if (b.weight > a.weight) return b;
  return a.expert < b.expert ? a : b;
}

__device__ __forceinline__ RoutedExpert warp_preferred(RoutedExpert x) {
  for (int bits = 16; bits; bits /= 2) {
    RoutedExpert other;
    other.expert = __shfl_xor_sync(~0u, x.expert, bits);
    other.weight = __shfl_xor_sync(~0u, x.weight, bits);
    x = preferred(x, other);
  }
  return x;
}

/// chosen[n k + i]: the experts of row n and their weights. One warp per row.
template <class T>
__global__ void choose_experts_kernel(RoutedExpert* chosen, const T* logits, int experts, int k,
                                      bool normalise) {
  __shared__ float p[kMostRoutedExperts];
  constexpr float kTaken = -1;
  const int lane = int(threadIdx.x);
  const T* row = logits + std::int64_t{blockIdx.x} * experts;
  float max = -INFINITY, sum = 0;
  for (int e = lane; e < experts; e += kWarpSize) {
    p[e] = widen(row[e]);
    max = p[e] > max ? p[e] : max;
  }
  max = warp_max(max);
  for (int e = lane; e < experts; e += kWarpSize) sum += p[e] = expf(p[e] - max);
  sum = warp_sum(sum);
  for (int e = lane; e < experts; e += kWarpSize) p[e] /= sum;
  RoutedExpert* const out = chosen + std::int64_t{blockIdx.x} * k;
  float total = 0;
  for (int i = 0; i < k; ++i) {
    RoutedExpert best{-1, 0};
    for (int e = lane; e < experts; e += kWarpSize)
      if (p[e] != kTaken) best = preferred(best, {e, p[e]});
    best = warp_preferred(best);
    // Each lane takes back its own alone, and no lane reads another's.
    if (best.expert % kWarpSize == lane) p[best.expert] = kTaken;
    total += best.weight;
    if (lane == 0) out[i] = best;
  }
  if (normalise && lane == 0)
    for (int i = 0; i < k; ++i) out[i].weight /= total;
}

/// Sorts n choices by expert and keeps their order. One warp per expert.
__global__ void group_by_expert_kernel(std::int32_t* offsets, std::int32_t* rows, float* weights,
                                       const RoutedExpert* chosen, std::int64_t n, int k) {
  const int lane = int(threadIdx.x), expert = int(blockIdx.x);
  int before = 0;
  for (std::int64_t i = lane; i < n; i += kWarpSize) before += chosen[i].expert < expert;
  std::int64_t at = warp_sum(before);
  if (lane == 0) offsets[expert] = std::int32_t(at);
  if (lane == 0 && blockIdx.x + 1 == gridDim.x) offsets[expert + 1] = std::int32_t(n);
  for (std::int64_t first = 0; first < n; first += kWarpSize) {
    const std::int64_t i = first + lane;
    const bool is_own = i < n && chosen[i].expert == expert;
    const unsigned own = __ballot_sync(~0u, is_own);
    if (is_own) {
      const int earlier = __popc(own & ((1u << lane) - 1));
      rows[at + earlier] = std::int32_t(i / k);
      weights[at + earlier] = chosen[i].weight;
    }
    at += __popc(own);
  }
}

/// x[rows[m],:] += weights[m] y[m,:], one block per row m.
template <class T>
__global__ void add_weighted_rows_kernel(float* x, const T* y, const std::int32_t* rows,
                                         const float* weights, std::int64_t limit, int cols) {
  const std::int64_t to = rows[blockIdx.x];
  if (to < 0 || to >= limit) return;
  const float weight = weights[blockIdx.x];
  for (int c = int(threadIdx.x); c < cols; c += int(blockDim.x))
    x[to * cols + c] += weight * widen(y[std::int64_t{blockIdx.x} * cols + c]);
}

}  // namespace

void CudaOps::route_rows(const RoutedRows& routed, Tensor logits, bool normalise) {
  const Checks c = checks("route_rows");
  const Routing r = check_route_rows(c, routed, logits);
  const std::int64_t n = r.rows * r.each;
  auto* const chosen =
      static_cast<RoutedExpert*>(device_.workspace(c.op(), n * std::int64_t(sizeof(RoutedExpert))));
  visit_float(logits.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    launch({c.op(), dim3(unsigned(r.rows)), kWarpSize, 0, stream()}, choose_experts_kernel<T>,
           chosen, logits.as<T>(), int(r.experts), int(r.each), normalise);
  });
  launch({c.op(), dim3(unsigned(r.experts)), kWarpSize, 0, stream()}, group_by_expert_kernel,
         routed.offsets.as<std::int32_t>(), routed.rows.as<std::int32_t>(),
         routed.weights.as<float>(), chosen, n, int(std::max<std::int64_t>(1, r.each)));
}

void CudaOps::add_weighted_rows(Tensor x, Tensor y, Tensor rows, Tensor weights) {
  const Checks c = checks("add_weighted_rows");
  check_add_weighted_rows(c, x, y, rows, weights);
  visit_float(y.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    launch({c.op(), dim3(unsigned(rows.count())), threads_for(x.cols(), 256), 0, stream()},
           add_weighted_rows_kernel<T>, x.as<float>(), y.as<T>(), rows.as<std::int32_t>(),
           weights.as<float>(), x.rows(), int(x.cols()));
  });
}

}  // namespace lacuna
