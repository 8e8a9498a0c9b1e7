#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"

namespace lacuna {
namespace {

constexpr int kThreads = 128;

template <class T>
__global__ void complete_logits_kernel(T* column, std::int64_t stride, std::int32_t* own_targets,
                                       const float* lse, const std::int32_t* targets, int rows,
                                       int ranks, int rank, std::int32_t first, std::int32_t ids) {
  const int row = int(blockIdx.x * kThreads + threadIdx.x);
  if (row >= rows) return;
  double highest = -INFINITY, sum = 0;
  for (int r = 0; r < ranks; ++r) {
    const double x = double(lse[std::int64_t{r} * rows + row]);
    if (r != rank && !(x <= highest)) highest = x;
  }
  for (int r = 0; r < ranks; ++r)
    if (r != rank) sum += exp(double(lse[std::int64_t{r} * rows + row]) - highest);
  column[row * stride] = narrow<T>(float(highest + log(sum)));
  const std::int32_t target = targets[row] - first;
  own_targets[row] = target >= 0 && target < ids ? target : ids;
}

__global__ void keep_own_losses_kernel(float* loss, const std::int32_t* own_targets, int rows,
                                       std::int32_t ids) {
  const int row = int(blockIdx.x * kThreads + threadIdx.x);
  if (row < rows && own_targets[row] == ids) loss[row] = 0;
}

}  // namespace

void CudaOps::complete_logits(Tensor column, Tensor own_targets, Tensor lse, Tensor targets,
                              int rank, std::int32_t first, std::int32_t ids) {
  const Checks c = checks("complete_logits");
  const std::int64_t ranks = check_complete_logits(c, column, own_targets, lse, targets, rank);
  visit_float(column.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    launch({c.op(), blocks_for_vector(targets.count(), kThreads, 1), kThreads, 0, stream()},
           complete_logits_kernel<T>, column.as<T>(), column.stride, own_targets.as<std::int32_t>(),
           lse.as<float>(), targets.as<std::int32_t>(), int(targets.count()), int(ranks), rank,
           first, ids);
  });
}

void CudaOps::keep_own_losses(Tensor loss, Tensor own_targets, std::int32_t ids) {
  const Checks c = checks("keep_own_losses");
  c.is_vector("loss", loss, own_targets.count(), DType::f32);
  c.is_vector("own_targets", own_targets, loss.count(), DType::i32);
  launch({c.op(), blocks_for_vector(loss.count(), kThreads, 1), kThreads, 0, stream()},
         keep_own_losses_kernel, loss.as<float>(), own_targets.as<std::int32_t>(),
         int(loss.count()), ids);
}

}  // namespace lacuna
