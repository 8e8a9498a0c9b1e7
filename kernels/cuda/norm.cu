#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/reduce.cuh"

namespace lacuna {
namespace {

// Pieces of fixed size, so that the sum does not depend on the device.
constexpr int kThreads = 256, kTurns = 16;

/// parts[blockIdx.x] = the sum of squares of its piece of kThreads * kTurns packs.
template <class T, int n>
__global__ void squares_kernel(double* parts, const T* x, std::int64_t count) {
  const std::int64_t begin = std::int64_t{blockIdx.x} * kTurns * kThreads * n;
  double sum = 0;
  for (int turn = 0; turn < kTurns; ++turn) {
    const std::int64_t i = begin + std::int64_t{turn * kThreads + int(threadIdx.x)} * n;
    const auto add = [&](T value) { sum += double(widen(value)) * double(widen(value)); };
    if (i + n <= count) {
      const auto pack = load_pack<n>(x + i);
      for (int j = 0; j < n; ++j) add(pack.v[j]);
    } else {
      for (std::int64_t j = i; j < count; ++j) add(x[j]);
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

__global__ void add_parts_kernel(double* sum, const double* parts, std::int64_t count,
                                 double factor) {
  double mine = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x) mine += parts[i];
  mine = block_sum(mine);
  if (threadIdx.x == 0) *sum += factor * mine;
}

__global__ void clip_scale_kernel(float* scale, const double* sum, float max_norm) {
  const double norm = sqrt(*sum);
  if (!isfinite(norm))
    *scale = NAN;
  else
    *scale = max_norm == 0 || norm <= double(max_norm) ? 1.0f : float(double(max_norm) / norm);
}

}  // namespace

void CudaOps::add_squares(Tensor sum, Tensor x, double factor) {
  const Checks c = checks("add_squares");
  c.is_float("x", x);
  c.is_contiguous("x", x);
  c.is_vector("sum", sum, 1, DType::f64);
  visit_float(x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    visit_width<kPackOf<T>>(aligned_to_packs(kPackOf<T>, {x}), [&](auto width) {
      constexpr int n = decltype(width)::value;
      const std::int64_t blocks = divided_up(x.count(), kTurns * kThreads * n);
      auto* parts = static_cast<double*>(device_.workspace(c.op(), (blocks + 1) * 8));
      launch({c.op(), dim3(unsigned(blocks)), kThreads, 0, stream()}, squares_kernel<T, n>, parts,
             x.as<T>(), x.count());
      launch({c.op(), dim3(1), 1024, 0, stream()}, add_parts_kernel, sum.as<double>(), parts,
             blocks, factor);
    });
  });
}

void CudaOps::clip_scale(Tensor scale, Tensor sum, float max_norm) {
  const Checks c = checks("clip_scale");
  c.is_vector("scale", scale, 1, DType::f32);
  c.is_vector("sum", sum, 1, DType::f64);
  launch({c.op(), dim3(1), dim3(1), 0, stream()}, clip_scale_kernel, scale.as<float>(),
         sum.as<double>(), max_norm);
}

}  // namespace lacuna
