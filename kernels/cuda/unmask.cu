#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/reduce.cuh"

namespace lacuna {
namespace {

constexpr int kThreads = 512;

/// The rows [begin, end) of a segment that take part, in the order in which they are filled: larger
/// keys first. No two are equal.
struct Ranking {
  const float* confidence;
  int begin, end;

  __device__ bool takes_part(int m) const { return confidence[m] >= 0 && isfinite(confidence[m]); }
  __device__ std::uint64_t key(int m) const {
    const float c = confidence[m] + 0.0f;  // not -0
    std::uint32_t bits;                    // ordered like the numbers, none being negative
    std::memcpy(&bits, &c, sizeof bits);
    return std::uint64_t{bits} << 32 | std::uint32_t(end - 1 - m);
  }
  /// How many keys are `key` or above.
  __device__ int at_least(std::uint64_t key_) const {
    int count = 0;
    for (int m = begin + int(threadIdx.x); m < end; m += kThreads)
      count += takes_part(m) && key(m) >= key_;
    return block_sum(count);
  }
  /// The key of the count-th row, count >= 1, or another that as many rows reach; 0 if there are
  /// fewer. Bit by bit: no more passes than it has bits, whatever the number of rows.
  __device__ std::uint64_t threshold(int count) const {
    std::uint64_t found = 0;
    for (int bit = 62; bit >= 0; --bit) {
      // A row's place has no more bits than the segment's size.
      if (bit < 32 && std::uint64_t(end - begin) >> bit == 0) continue;
      const std::uint64_t tried = found | std::uint64_t{1} << bit;
      const int reached = at_least(tried);
      if (reached >= count) found = tried;
      if (reached == count) break;
    }
    return found;
  }
};

/// One block per segment.
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
  // Each thread looks at its own rows alone, here and below.
  if (__syncthreads_or(not_finite) && threadIdx.x == 0) *bad = 1;
  const int count = counts[blockIdx.x];
  if (count <= 0) return;
  const Ranking ranking{confidence, begin, end};
  const std::uint64_t threshold = ranking.threshold(count);
  for (int m = first; m < end; m += kThreads)
    if (ranking.takes_part(m) && ranking.key(m) >= threshold) canvas[rows[m]] = tokens[m];
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
