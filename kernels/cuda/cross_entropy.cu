#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/reduce.cuh"

namespace lacuna {
namespace {

constexpr int kThreads = 512;
constexpr float kLowest = -3.402823466e38f;

/// One block per row, which it reads once, keeping a running maximum and the sum of exp(x - max)
/// rescaled when the maximum grows (arXiv:1805.02867); then, if `backward`, once more from a cache,
/// to replace the logits by their gradients.
template <class T, int n, bool backward>
__global__ void cross_entropy_kernel(float* loss, T* logits, const std::int32_t* targets,
                                     const float* weights, int cols) {
  T* x = logits + std::int64_t{blockIdx.x} * cols;
  const int target = targets[blockIdx.x];
  const bool known = target >= 0 && target < cols;
  const float at_target = known ? widen(x[target]) : NAN;  // read before any thread overwrites it
  float my_max = kLowest, my_sum = 0;
  for (int c = int(threadIdx.x) * n; c < cols; c += kThreads * n) {
    const auto pack = load_pack<n>(x + c);
    float max = my_max;
    for (int j = 0; j < n; ++j) max = fmaxf(max, widen(pack.v[j]));
    my_sum *= expf(my_max - max);
    for (int j = 0; j < n; ++j) my_sum += expf(widen(pack.v[j]) - max);
    my_max = max;
  }
  const float max = block_max(my_max);
  const float sum = block_sum(my_sum * expf(my_max - max));
  if (threadIdx.x == 0) loss[blockIdx.x] = logf(sum) + (max - at_target);
  if constexpr (backward) {
    const float weight = weights[blockIdx.x], scale = weight / sum;
    for (int c = int(threadIdx.x) * n; c < cols; c += kThreads * n) {
      auto pack = load_pack<n>(x + c);
      for (int j = 0; j < n; ++j) {
        const float e = expf(widen(pack.v[j]) - max);
        // p - 1 of the target from p itself, before the weight.
        pack.v[j] = narrow<T>(c + j == target ? weight * (e / sum - 1.0f) : scale * e);
      }
      store_pack<n>(x + c, pack);
    }
  }
}

template <bool backward>
void cross_entropy(const Checks& c, CUstream_st* stream, const Tensor& loss, const Tensor& logits,
                   const Tensor& targets, const float* weights) {
  const RowsCols size{logits.rows(), logits.cols()};
  visit_float(logits.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    visit_width<kPackOf<T>>(packs_fit(size.cols, kPackOf<T>, {logits}), [&](auto width) {
      constexpr int n = decltype(width)::value;
      launch({c.op(), dim3(unsigned(size.rows)), kThreads, 0, stream},
             cross_entropy_kernel<T, n, backward>, loss.as<float>(), logits.as<T>(),
             targets.as<std::int32_t>(), weights, int(size.cols));
    });
  });
}

}  // namespace

void CudaOps::cross_entropy_forward(Tensor loss, Tensor logits, Tensor targets) {
  const Checks c = checks("cross_entropy_forward");
  check_cross_entropy(c, loss, logits, targets);
  cross_entropy<false>(c, stream(), loss, logits, targets, nullptr);
}

void CudaOps::cross_entropy_backward(Tensor loss, Tensor logits, Tensor targets, Tensor weights) {
  const Checks c = checks("cross_entropy_backward");
  check_cross_entropy(c, loss, logits, targets);
  c.is_vector("weights", weights, logits.rows(), DType::f32);
  cross_entropy<true>(c, stream(), loss, logits, targets, weights.as<float>());
}

}  // namespace lacuna
