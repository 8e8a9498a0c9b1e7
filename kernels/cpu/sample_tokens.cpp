#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/philox.h"
#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"

namespace lacuna {
namespace {

// A row is taken in chunks that stay in the first-level cache, so it is read from memory once.
constexpr std::int64_t kChunk = 2048;
// Numbers drawn at a time: the best so far is compared with once per block.
constexpr std::int64_t kBlock = 128;

/// max_v x[v], sum_v exp(x[v] - max) and the first v that has the maximum, chunk by chunk.
class RowSoftmax {
 public:
  void add(const SimdKernels& simd, const float* x, std::int64_t first, std::int64_t n) {
    const auto [max, sum] = simd.max_and_sum(x, n);
    if (max > max_) {
      sum_ = sum_ * std::exp(double(max_) - double(max)) + sum;
      max_ = max;
      argmax_ = first + (std::find(x, x + n, max) - x);
    } else {
      sum_ += sum * std::exp(double(max) - double(max_));
    }
  }
  std::int64_t argmax() const { return argmax_; }
  float probability(float x) const { return float(std::exp(double(x) - double(max_)) / sum_); }

 private:
  float max_ = std::numeric_limits<float>::lowest();
  double sum_ = 0;
  std::int64_t argmax_ = 0;
};

/// argmax_v x[v] - t log(-log u[v]), chunk by chunk.
class GumbelMax {
 public:
  GumbelMax(const SimdKernels& simd, const SamplingParameters& p, std::uint64_t position)
      : simd_(simd), p_(p), position_(position) {
    const double inverse = std::min(1 / p.temperature, double(std::numeric_limits<float>::max()));
    inverse_t_ = float(inverse);
  }
  void add(const float* x, std::int64_t first, std::int64_t n) {
    for (std::int64_t i = 0; i < n;) {
      const std::uint64_t at = position_ + std::uint64_t(first + i);
      const auto low = std::uint32_t(at);
      // A block stays within one stream: the index is the same for all of it.
      const std::int64_t left = (std::int64_t{1} << 32) - low;
      const std::int64_t count = std::min({kBlock, n - i, left});
      add_block(x + i, first + i, count, p_.step | (at >> 32) << 32, low);
      i += count;
    }
  }
  std::int64_t argmax() const { return argmax_; }

 private:
  void add_block(const float* x, std::int64_t first, std::int64_t n, std::uint64_t index,
                 std::uint32_t position) {
    const CounterRng rng{p_.seed, Purpose::gumbel, index};
    const GumbelStream stream{p_.seed, index, std::uint32_t(Purpose::gumbel)};
    std::array<float, kBlock> slack;
    if (!(simd_.gumbel_slack(slack.data(), x, best_below(), inverse_t_, stream, position, n) > 0))
      return;
    for (std::int64_t i = 0; i < n; ++i) {
      if (!(slack[std::size_t(i)] > 0)) continue;
      const double u = rng.uniform53(position + std::uint32_t(i));
      const double value = double(x[i]) - p_.temperature * std::log(-std::log(u));
      if (value > best_) {
        best_ = value;
        argmax_ = first + i;
      }
    }
  }
  /// The best so far, rounded down: nothing that could exceed it is missed.
  float best_below() const {
    const auto rounded = float(best_);
    return double(rounded) > best_
               ? std::nextafter(rounded, -std::numeric_limits<float>::infinity())
               : rounded;
  }

  const SimdKernels& simd_;
  const SamplingParameters& p_;
  std::uint64_t position_;
  float inverse_t_;
  double best_ = -std::numeric_limits<double>::infinity();
  std::int64_t argmax_ = 0;
};

}  // namespace

void CpuOps::sample_tokens(Tensor tokens, Tensor confidence, Tensor logits, Tensor row_keys,
                           const SamplingParameters& p) {
  const auto [rows, cols] = check_sample_tokens(Checks("sample_tokens", Place::host), tokens,
                                                confidence, logits, row_keys, p);
  pool_.for_ranges(rows, row_grain(cols), [&, n = cols](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* x = logits.as<float>() + row * n;
      const auto key = std::uint64_t(row_keys.as<std::int64_t>()[row]);
      RowSoftmax softmax;
      GumbelMax noisy(simd_, p, key * std::uint64_t(n));
      for (std::int64_t first = 0; first < n; first += kChunk) {
        const std::int64_t count = std::min(kChunk, n - first);
        softmax.add(simd_, x + first, first, count);
        if (p.temperature > 0) noisy.add(x + first, first, count);
      }
      const std::int64_t token = p.temperature > 0 ? noisy.argmax() : softmax.argmax();
      tokens.as<std::int32_t>()[row] = std::int32_t(token);
      confidence.as<float>()[row] = softmax.probability(x[token]);
    }
  });
}

}  // namespace lacuna
