#include "core/philox.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"

namespace lacuna {
namespace {

constexpr int kThreads = 128;

/// Row blockIdx.x; each thread four positions, which share a block of the counter generator.
__global__ void corrupt_kernel(std::int32_t* noisy, std::uint8_t* masked, const std::int32_t* clean,
                               const float* p, const std::int64_t* samples, std::uint64_t seed,
                               std::int32_t mask_token, int cols) {
  const int first = int(blockIdx.y * kThreads + threadIdx.x) * 4;
  if (first >= cols) return;
  const CounterRng rng{seed, Purpose::mask, std::uint64_t(samples[blockIdx.x])};
  const auto bits = rng.block(std::uint32_t(first / 4));
  const float probability = p[blockIdx.x];
  const std::int64_t row = std::int64_t{blockIdx.x} * cols;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int i = first + j;
    if (i >= cols) break;
    const bool mask = CounterRng::uniform_of(bits[std::size_t(j)]) < probability;
    masked[row + i] = mask;
    noisy[row + i] = mask ? mask_token : clean[row + i];
  }
}

}  // namespace

void CudaOps::corrupt(Tensor noisy, Tensor masked, Tensor clean, Tensor p, Tensor samples,
                      std::uint64_t seed, std::int32_t mask_token) {
  const Checks c = checks("corrupt");
  const auto [rows, cols] = check_corrupt(c, noisy, masked, clean, p, samples);
  launch({c.op(), dim3(unsigned(rows), unsigned(divided_up(cols, 4 * kThreads))), kThreads, 0,
          stream()},
         corrupt_kernel, noisy.as<std::int32_t>(), masked.as<std::uint8_t>(),
         clean.as<std::int32_t>(), p.as<float>(), samples.as<std::int64_t>(), seed, mask_token,
         int(cols));
}

}  // namespace lacuna
