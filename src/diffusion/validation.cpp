#include "diffusion/validation.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

#include "core/philox.h"
#include "diffusion/block_noise.h"

namespace lacuna {
namespace {

LossBatch noisy_batch(const NoiseOptions& options, Tensor clean, std::int64_t first,
                      std::int64_t sequences, std::span<const double> ratios) {
  if (options.objective == Objective::block_diffusion)
    return make_block_batch(options, clean, clean.cols(), first, sequences, ratios);
  std::vector<float> p;
  for (const double t : ratios) p.push_back(mask_probability(t, options.min_mask_probability));
  return make_noisy_batch(options, clean, clean.cols(), first, sequences, p);
}

}  // namespace

std::vector<double> validation_ratios(std::int64_t n) {
  std::vector<std::int64_t> stratum(static_cast<std::size_t>(n));
  std::iota(stratum.begin(), stratum.end(), 0);
  const CounterRng rng{kValidationSeed, Purpose::mask_ratio, std::uint64_t(n)};
  // Fisher and Yates. Each number has a block of its own: 2i for the shuffle, 2i + 1 within.
  for (std::int64_t i = n - 1; i > 0; --i)
    std::swap(stratum[std::size_t(i)],
              stratum[std::size_t(rng.below(std::uint64_t(i) + 1, std::uint32_t(2 * i)))]);
  std::vector<double> ratios;
  ratios.reserve(stratum.size());
  for (std::int64_t i = 0; i < n; ++i)
    ratios.push_back((double(stratum[std::size_t(i)]) + rng.uniform53(std::uint32_t(2 * i + 1))) /
                     double(n));
  return ratios;
}

double validation_bound(ObjectiveRunner& runner, const NoiseOptions& options,
                        const ValidationSet& set, std::int64_t micro_batch) {
  return validation_share(runner, options, set, micro_batch, 0, set.sequences);
}

double validation_share(ObjectiveRunner& runner, const NoiseOptions& options,
                        const ValidationSet& set, std::int64_t micro_batch, std::int64_t first,
                        std::int64_t count) {
  CHECK(set.sequences >= 1 && set.length >= 1, "validation on ", set.sequences, " sequences of ",
        set.length, " tokens");
  CHECK(first >= 0 && count >= 0 && first + count <= set.sequences, "sequences ", first, "+", count,
        " of a validation set of ", set.sequences);
  CHECK(micro_batch >= 1, "validation in micro-batches of ", micro_batch);
  NoiseOptions fixed = options;
  fixed.seed = kValidationSeed;
  const std::vector<double> ratios = validation_ratios(set.sequences);
  std::vector<std::int32_t> clean(std::size_t(std::min(micro_batch, count) * set.length));
  double sum = 0;
  for (std::int64_t at = first; at < first + count;) {
    const std::int64_t n = std::min(micro_batch, first + count - at);
    const Tensor tokens(clean.data(), {n, set.length});
    set.read(at, n, tokens);
    sum += runner.loss(noisy_batch(fixed, tokens, at, set.sequences,
                                   std::span(ratios).subspan(std::size_t(at), std::size_t(n))));
    at += n;
  }
  return sum;
}

}  // namespace lacuna
