#include "decoding/strategies/unmasking.h"

#include <algorithm>

#include "core/check.h"
#include "core/philox.h"

namespace lacuna {

std::vector<ScoredDraw> in_order(std::span<const double> scores) {
  std::vector<ScoredDraw> draws;
  draws.reserve(scores.size());
  for (const double score : scores) draws.push_back({score, std::int32_t(draws.size())});
  std::sort(draws.begin(), draws.end(), precedes);
  return draws;
}

std::vector<std::int64_t> most_confident(std::span<const double> confidence, std::int64_t count) {
  CHECK(count >= 0 && count <= std::int64_t(confidence.size()), "the ", count, " highest of ",
        confidence.size(), " confidences");
  const std::vector<ScoredDraw> draws = in_order(confidence);
  std::vector<std::int64_t> chosen;
  for (std::int64_t i = 0; i < count; ++i) chosen.push_back(draws[std::size_t(i)].draw);
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

double random_confidence(std::uint64_t seed, std::int64_t sample, std::int64_t step,
                         std::int64_t position) {
  const CounterRng rng{seed, Purpose::remasking, std::uint64_t(sample) << 32 | std::uint64_t(step)};
  return rng.uniform53(std::uint32_t(position));
}

}  // namespace lacuna
