#include <algorithm>

#include "core/philox.h"
#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"

namespace lacuna {

void CpuOps::corrupt(Tensor noisy, Tensor masked, Tensor clean, Tensor p, Tensor samples,
                     std::uint64_t seed, std::int32_t mask_token) {
  const auto [rows, cols] =
      check_corrupt(Checks("corrupt", Place::host), noisy, masked, clean, p, samples);
  const std::int64_t n = cols;
  // One Philox block serves four neighbouring positions; a number costs about 4 ns.
  constexpr std::int64_t kPositions = 2048;
  const std::int64_t pieces = (n + kPositions - 1) / kPositions;
  const auto piece = [&](std::int64_t row, std::int64_t first) {
    const auto sample = std::uint64_t(samples.as<std::int64_t>()[row]);
    const CounterRng rng{seed, Purpose::mask, sample};
    const float probability = p.as<float>()[row];
    for (std::int64_t i = first; i < std::min(n, first + kPositions); i += 4) {
      const auto bits = rng.block(std::uint32_t(i / 4));
      for (std::int64_t j = 0; j < std::min<std::int64_t>(4, n - i); ++j) {
        const std::int64_t at = row * n + i + j;
        const bool mask = CounterRng::uniform_of(bits[std::size_t(j)]) < probability;
        masked.as<std::uint8_t>()[at] = mask;
        noisy.as<std::int32_t>()[at] = mask ? mask_token : clean.as<std::int32_t>()[at];
      }
    }
  };
  const std::int64_t grain = std::max<std::int64_t>(1, kPositions / std::max<std::int64_t>(1, n));
  pool_.for_ranges(rows * pieces, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) piece(i / pieces, i % pieces * kPositions);
  });
}

}  // namespace lacuna
