#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/pieces.cuh"
#include "kernels/cuda/reduce.cuh"

namespace lacuna {
namespace {

// Blocks take parts of fixed size, so that the sum does not depend on the device.
constexpr int kThreads = 256, kTurns = 64;
template <class T>
constexpr std::int64_t kPart = std::int64_t{kThreads} * kTurns* kPackOf<T>;  // elements

/// A tensor, and the first of the blocks that read it.
struct Squared {
  const void* x;
  std::int64_t count, first_block;
  std::int64_t packed;  // whether all of it is aligned to packs
};

template <int n, class T>
__device__ __forceinline__ double squares_at(const T* x, std::int64_t i) {
  double sum = 0;
  const auto pack = load_pack<n>(x + i);
  for (int j = 0; j < n; ++j) sum += double(widen(pack.v[j])) * double(widen(pack.v[j]));
  return sum;
}

/// parts[blockIdx.x] = the sum of squares of its part. The block that ends last adds up all of
/// them, in their order, whichever block it is; `ended` is 0 before the launch, and after it.
template <class T>
__global__ void squares_kernel(double* total, double* parts, std::int32_t* ended,
                               const Squared* tensors, int count, double factor, bool accumulate) {
  const Squared mine = piece_of_block(tensors, count);
  const T* x = static_cast<const T*>(mine.x);
  double sum = 0;
  for_my_packs<kThreads, kTurns, kPackOf<T>>(
      mine, [&](auto width, std::int64_t i) { sum += squares_at<decltype(width)::value>(x, i); });
  sum = block_sum(sum);
  __shared__ bool last;
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = sum;
    last = count_block(ended) == int(gridDim.x) - 1;
  }
  __syncthreads();
  if (!last) return;
  sum = 0;
  for (unsigned i = threadIdx.x; i < gridDim.x; i += blockDim.x) sum += parts[i];
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  *total = (accumulate ? *total : 0) + factor * sum;
  *ended = 0;
}

__global__ void clip_scale_kernel(float* scale, const double* sum, float max_norm) {
  const double norm = sqrt(*sum);
  if (!isfinite(norm))
    *scale = NAN;
  else
    *scale = max_norm == 0 || norm <= double(max_norm) ? 1.0f : float(double(max_norm) / norm);
}

}  // namespace

void CudaOps::add_squares(Tensor sum, const std::vector<Tensor>& tensors, double factor,
                          GradMode mode) {
  const Checks c = checks("add_squares");
  check_add_squares(c, sum, tensors);
  // A launch for no tensor too: the sum may have to be overwritten.
  visit_float(tensors.empty() ? DType::f32 : tensors.front().dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    std::vector<Squared> table;
    std::int64_t blocks = 0;
    for (const Tensor& x : tensors) {
      table.push_back({x.data, x.count(), blocks, aligned_to_packs(kPackOf<T>, {x})});
      blocks += divided_up(x.count(), kPart<T>);
    }
    if (blocks == 0) table.assign(1, {nullptr, 0, blocks++, 0});
    const auto* on_device = tables_.on_device(c.op(), table);
    auto* parts = static_cast<double*>(device_.workspace(c.op(), blocks * 8));
    launch({c.op(), dim3(unsigned(blocks)), kThreads, 0, stream()}, squares_kernel<T>,
           sum.as<double>(), parts, tables_.counter(), on_device, int(table.size()), factor,
           mode == GradMode::accumulate);
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
