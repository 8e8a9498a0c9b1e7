#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/philox.h"
#include "kernels/ops.h"

namespace lacuna::testing {

/// Ops::row_stats of one row, as ops.h defines it, one number at a time in f64.
struct PlainStats {
  PlainStats(const float* logits, std::int64_t vocab, std::int64_t row_key, std::int32_t now,
             const SamplingParameters& p) {
    std::vector<double> x(logits, logits + vocab);
    for (const std::int32_t id : p.forbidden)
      if (id >= 0) x[std::size_t(id)] = -kInfinity;
    argmax = first_of_largest(x);
    std::vector<double> noisy = x;
    if (p.temperature > 0)
      for (std::int64_t v = 0; v < vocab; ++v) {
        const std::uint64_t n = std::uint64_t(row_key) * std::uint64_t(vocab) + std::uint64_t(v);
        const CounterRng rng{p.seed, Purpose::gumbel, p.step | (n >> 32) << 32};
        noisy[std::size_t(v)] -=
            p.temperature * std::log(-std::log(rng.uniform53(std::uint32_t(n))));
      }
    draw = first_of_largest(noisy);
    const double max = x[std::size_t(argmax)];
    double sum = 0;
    for (const double logit : x) sum += std::exp(logit - max);
    const auto probability = [&](double logit) { return std::exp(logit - max) / sum; };
    for (const double logit : x)
      if (probability(logit) > 0) entropy -= probability(logit) * std::log(probability(logit));
    p_draw = probability(x[std::size_t(draw)]);
    p_first = probability(max);
    p_current = probability(x[std::size_t(now)]);
    x[std::size_t(argmax)] = -kInfinity;
    p_second = probability(*std::max_element(x.begin(), x.end()));
  }

  std::int32_t draw, argmax;
  double p_draw, p_first, p_second, entropy = 0, p_current;

 private:
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();
  static std::int32_t first_of_largest(const std::vector<double>& x) {
    return std::int32_t(std::max_element(x.begin(), x.end()) - x.begin());
  }
};

}  // namespace lacuna::testing
