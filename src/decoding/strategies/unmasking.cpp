#include "decoding/strategies/unmasking.h"

#include <algorithm>
#include <numeric>

#include "core/check.h"
#include "core/philox.h"

namespace lacuna {

std::vector<std::int64_t> by_confidence(std::span<const double> confidence) {
  std::vector<std::int64_t> order(confidence.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    const double x = confidence[std::size_t(a)], y = confidence[std::size_t(b)];
    return x != y ? x > y : a < b;
  });
  return order;
}

std::vector<std::int64_t> most_confident(std::span<const double> confidence, std::int64_t count) {
  CHECK(count >= 0 && count <= std::int64_t(confidence.size()), "the ", count, " highest of ",
        confidence.size(), " confidences");
  std::vector<std::int64_t> order = by_confidence(confidence);
  order.resize(std::size_t(count));
  std::sort(order.begin(), order.end());
  return order;
}

double random_confidence(std::uint64_t seed, std::int64_t sample, std::int64_t step,
                         std::int64_t position) {
  const CounterRng rng{seed, Purpose::remasking, std::uint64_t(sample) << 32 | std::uint64_t(step)};
  return rng.uniform53(std::uint32_t(position));
}

}  // namespace lacuna
