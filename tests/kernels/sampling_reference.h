#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/philox.h"
#include "kernels/ops.h"

namespace lacuna::testing {

struct PlainDraw {
  std::int32_t token;
  double confidence;  // its probability
};

/// Ops::sample_tokens of one row of logits as kernels/ops.h defines it, one number at a time, in
/// f64.
inline PlainDraw draw_row_plainly(const float* logits, std::int64_t vocab, std::int64_t row_key,
                                  const SamplingParameters& p) {
  double best = -std::numeric_limits<double>::infinity(), max = best, sum = 0;
  std::int64_t token = 0;
  for (std::int64_t v = 0; v < vocab; ++v) {
    const double x = double(logits[v]);
    max = std::max(max, x);
    double noisy = x;
    if (p.temperature > 0) {
      const auto n = std::uint64_t(row_key) * std::uint64_t(vocab) + std::uint64_t(v);
      const CounterRng rng{p.seed, Purpose::gumbel, p.step | (n >> 32) << 32};
      noisy -= p.temperature * std::log(-std::log(rng.uniform53(std::uint32_t(n))));
    }
    if (noisy > best) {
      best = noisy;
      token = v;
    }
  }
  for (std::int64_t v = 0; v < vocab; ++v) sum += std::exp(double(logits[v]) - max);
  return {std::int32_t(token), std::exp(double(logits[token]) - max) / sum};
}

}  // namespace lacuna::testing
