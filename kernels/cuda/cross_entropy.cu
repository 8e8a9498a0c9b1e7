#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/reduce.cuh"

namespace lacuna {
namespace {

constexpr int kThreads = 512;
constexpr float kLowest = -3.402823466e38f;

template <int n, bool packed, class T>
__device__ __forceinline__ void store_columns(T* x, int c, int cols, const Pack<T, n>& pack) {
  if (packed && c + n <= cols) return store_pack<n>(x + c, pack);
  for (int j = 0; j < n; ++j)
    if (c + j < cols) x[c + j] = pack.v[j];
}

/// One block per row, which it reads once, keeping a running maximum and the sum of exp(x - max)
/// rescaled when the maximum grows (arXiv:1805.02867); then, if `backward`, once more from a cache,
/// to replace the logits by their gradients. Which thread has which columns, and so every bit of
/// the result, does not depend on how they are loaded.
template <class T, bool packed, bool backward>
__global__ void cross_entropy_kernel(float* loss, T* logits, std::int64_t stride,
                                     const std::int32_t* targets, const float* weights, int cols) {
  constexpr int n = kPackOf<T>;
  T* x = logits + std::int64_t{blockIdx.x} * stride;
  const int target = targets[blockIdx.x];
  const bool known = target >= 0 && target < cols;
  const float at_target = known ? widen(x[target]) : NAN;  // read before any thread overwrites it
  float my_max = kLowest, my_sum = 0;
  for (int c = int(threadIdx.x) * n; c < cols; c += kThreads * n) {
    const auto pack = load_columns<n, packed>(x, c, cols);
    float max = my_max;
    for (int j = 0; j < n; ++j) max = fmaxf(max, pack.v[j]);
    my_sum *= expf(my_max - max);
    for (int j = 0; j < n; ++j) my_sum += expf(pack.v[j] - max);
    my_max = max;
  }
  const float max = block_max(my_max);
  const float sum = block_sum(my_sum * expf(my_max - max));
  if (threadIdx.x == 0) loss[blockIdx.x] = logf(sum) + (max - at_target);
  if constexpr (backward) {
    const float weight = weights[blockIdx.x], scale = weight / sum;
    for (int c = int(threadIdx.x) * n; c < cols; c += kThreads * n) {
      const auto pack = load_columns<n, packed>(x, c, cols);
      Pack<T, n> gradient;
      for (int j = 0; j < n; ++j) {
        const float e = expf(pack.v[j] - max);
        // p - 1 of the target from p itself, before the weight.
        gradient.v[j] = narrow<T>(c + j == target ? weight * (e / sum - 1.0f) : scale * e);
      }
      store_columns<n, packed>(x, c, cols, gradient);
    }
  }
}

template <bool backward>
void cross_entropy(const Checks& c, CUstream_st* stream, const Tensor& loss, const Tensor& logits,
                   const Tensor& targets, const float* weights) {
  const RowsCols size{logits.rows(), logits.cols()};
  visit_float(logits.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto run = [&](auto packed) {
      launch({c.op(), dim3(unsigned(size.rows)), kThreads, 0, stream},
             cross_entropy_kernel<T, decltype(packed)::value != 0, backward>, loss.as<float>(),
             logits.as<T>(), logits.stride, targets.as<std::int32_t>(), weights, int(size.cols));
    };
    // The row's own alignment: its end need not be a whole pack.
    if (rows_aligned_to_packs(kPackOf<T>, logits))
      run(Width<1>{});
    else
      run(Width<0>{});
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
