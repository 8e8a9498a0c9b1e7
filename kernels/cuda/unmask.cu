#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"

namespace lacuna {
namespace {

constexpr int kThreads = 256;

/// One block per segment. A row's place among those that take part is counted, by comparing it with
/// each of them: there are at most as many as a text has tokens.
__global__ void unmask_kernel(std::int32_t* canvas, float* confidence, std::int32_t* bad,
                              const std::int32_t* tokens, const std::int32_t* rows,
                              const std::int32_t* offsets, const std::int32_t* counts,
                              std::int32_t mask_token, std::int64_t limit) {
  const int begin = offsets[blockIdx.x], end = offsets[blockIdx.x + 1];
  const int first = begin + int(threadIdx.x);
  bool not_finite = false;
  for (int m = first; m < end; m += kThreads) {
    const std::int32_t row = rows[m];
    if (row < 0 || row >= limit || canvas[row] != mask_token)
      confidence[m] = -1;
    else
      not_finite |= !isfinite(confidence[m]);
  }
  // From here on nobody looks at the canvas, which others write.
  if (__syncthreads_or(not_finite) && threadIdx.x == 0) *bad = 1;
  const int count = counts[blockIdx.x];
  for (int m = first; m < end; m += kThreads) {
    const float mine = confidence[m];
    if (!(mine >= 0) || !isfinite(mine)) continue;
    int before = 0;
    for (int other = begin; other < end && before < count; ++other) {
      const float c = confidence[other];
      before += isfinite(c) && (c > mine || (c == mine && other < m));
    }
    if (before < count) canvas[rows[m]] = tokens[m];
  }
}

}  // namespace

void CudaOps::unmask(Tensor canvas, Tensor confidence, Tensor bad, Tensor tokens, Tensor rows,
                     Tensor offsets, Tensor counts, std::int32_t mask_token) {
  const Checks c = checks("unmask");
  const std::int64_t segments =
      check_unmask(c, canvas, confidence, bad, tokens, rows, offsets, counts);
  launch({c.op(), dim3(unsigned(segments)), kThreads, 0, stream()}, unmask_kernel,
         canvas.as<std::int32_t>(), confidence.as<float>(), bad.as<std::int32_t>(),
         tokens.as<std::int32_t>(), rows.as<std::int32_t>(), offsets.as<std::int32_t>(),
         counts.as<std::int32_t>(), mask_token, canvas.count());
}

}  // namespace lacuna
