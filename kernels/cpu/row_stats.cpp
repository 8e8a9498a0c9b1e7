#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/half.h"
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
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// A row's logits in f32, the forbidden ones as -inf.
class RowLogits {
 public:
  RowLogits(const SimdKernels& simd, const Tensor& logits, std::int64_t row,
            const ForbiddenTokens& forbidden)
      : simd_(simd), x_(logits.row_range(row, 1)), n_(logits.cols()), forbidden_(forbidden) {}

  float operator[](std::int64_t v) const {
    if (std::find(forbidden_.begin(), forbidden_.end(), v) != forbidden_.end()) return -kInfinity;
    return x_.dtype == DType::bf16 ? to_float(x_.as<BFloat16>()[v]) : x_.as<float>()[v];
  }
  /// f(x, first, count): the logits x of the tokens [first, first + count), for all chunks.
  template <class F>
  void for_chunks(F&& f) const {
    for (std::int64_t first = 0; first < n_; first += kChunk) {
      const std::int64_t count = std::min(kChunk, n_ - first);
      f(chunk(first, count), first, count);
    }
  }

 private:
  /// The logits where they lie, unless they are bf16 or some of them are forbidden.
  const float* chunk(std::int64_t first, std::int64_t count) const {
    const float* x = changed_.data();
    if (x_.dtype == DType::bf16)
      simd_.bf16.widen(changed_.data(), x_.as<BFloat16>() + first, count);
    else
      x = x_.as<float>() + first;
    for (const std::int64_t id : forbidden_) {
      if (id < first || id >= first + count) continue;
      if (x != changed_.data()) {
        std::copy_n(x, count, changed_.begin());
        x = changed_.data();
      }
      changed_[std::size_t(id - first)] = -kInfinity;
    }
    return x;
  }

  const SimdKernels& simd_;
  Tensor x_;
  std::int64_t n_;
  const ForbiddenTokens& forbidden_;
  mutable std::array<float, kChunk> changed_;
};

/// The softmax of a row, chunk by chunk: with d = x - max, the sums of exp(d) and of d exp(d), the
/// first place of the maximum and the largest of the others.
class RowSoftmax {
 public:
  RowSoftmax(const SimdKernels& simd, bool second, bool entropy)
      : simd_(simd), with_second_(second), with_entropy_(entropy) {}

  void add(const float* x, std::int64_t first, std::int64_t n) {
    const auto [max, sum] = simd_.f32.max_and_sum(x, n);
    const double weighted = with_entropy_ ? double(simd_.weighted_sum(x, max, n)) : 0;
    if (max > max_) {
      const double by = double(max_) - double(max), scale = std::exp(by);
      const std::int64_t at = std::find(x, x + n, max) - x;
      if (with_second_)
        second_ = std::max({second_, sum_ > 0 ? max_ : -kInfinity, simd_.max(x, at),
                            simd_.max(x + at + 1, n - at - 1)});
      weighted_ = (weighted_ + by * sum_) * scale + weighted;
      sum_ = sum_ * scale + sum;
      max_ = max;
      argmax_ = first + at;
    } else {
      const double by = double(max) - double(max_), scale = std::exp(by);
      if (sum > 0) second_ = std::max(second_, max);
      weighted_ += (weighted + by * sum) * scale;
      sum_ += sum * scale;
    }
  }
  std::int64_t argmax() const { return argmax_; }
  float second() const { return second_; }
  float probability(float x) const { return float(std::exp(double(x) - double(max_)) / sum_); }
  float entropy() const { return float(std::log(sum_) - weighted_ / sum_); }

 private:
  const SimdKernels& simd_;
  bool with_second_, with_entropy_;
  float max_ = std::numeric_limits<float>::lowest(), second_ = -kInfinity;
  double sum_ = 0, weighted_ = 0;
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
  /// The token v of logit x. The most probable one first: few others can exceed it then.
  void try_token(float x, std::int64_t v) {
    const std::uint64_t at = position_ + std::uint64_t(v);
    try_token(x, v, CounterRng{p_.seed, Purpose::gumbel, index(at)}.uniform53(std::uint32_t(at)));
  }
  void add(const float* x, std::int64_t first, std::int64_t n) {
    for (std::int64_t i = 0; i < n;) {
      const std::uint64_t at = position_ + std::uint64_t(first + i);
      const auto low = std::uint32_t(at);
      // A block stays within one stream: the index is the same for all of it.
      const std::int64_t left = (std::int64_t{1} << 32) - low;
      const std::int64_t count = std::min({kBlock, n - i, left});
      add_block(x + i, first + i, count, index(at), low);
      i += count;
    }
  }
  std::int64_t argmax() const { return argmax_; }

 private:
  std::uint64_t index(std::uint64_t at) const { return p_.step | (at >> 32) << 32; }
  void try_token(float x, std::int64_t v, double u) {
    const double value = double(x) - p_.temperature * std::log(-std::log(u));
    if (value > best_ || (value == best_ && v < argmax_)) {
      best_ = value;
      argmax_ = v;
    }
  }
  void add_block(const float* x, std::int64_t first, std::int64_t n, std::uint64_t index,
                 std::uint32_t position) {
    const CounterRng rng{p_.seed, Purpose::gumbel, index};
    const RandomStream stream{p_.seed, index, std::uint32_t(Purpose::gumbel)};
    std::array<float, kBlock> slack;
    if (!(simd_.gumbel_slack(slack.data(), x, below_best(), inverse_t_, stream, position, n) > 0))
      return;
    for (std::int64_t i = 0; i < n; ++i)
      if (slack[std::size_t(i)] > 0)
        try_token(x[i], first + i, rng.uniform53(position + std::uint32_t(i)));
  }
  /// A number below the best so far: nothing that equals it is missed.
  float below_best() const {
    const auto rounded = float(best_);
    return double(rounded) >= best_ ? std::nextafter(rounded, -kInfinity) : rounded;
  }

  const SimdKernels& simd_;
  const SamplingParameters& p_;
  std::uint64_t position_;
  float inverse_t_;
  double best_ = -std::numeric_limits<double>::infinity();
  std::int64_t argmax_ = 0;
};

std::int64_t drawn_token(const SimdKernels& simd, const RowLogits& logits, std::int64_t argmax,
                         std::uint64_t position, const SamplingParameters& p) {
  if (p.temperature == 0) return argmax;
  GumbelMax noisy(simd, p, position);
  noisy.try_token(logits[argmax], argmax);
  logits.for_chunks(
      [&](const float* x, std::int64_t first, std::int64_t count) { noisy.add(x, first, count); });
  return noisy.argmax();
}

template <class T, class U>
void set(const Tensor& result, std::int64_t row, U value) {
  if (is_given(result)) result.as<T>()[row] = T(value);
}

}  // namespace

void CpuOps::row_stats(const RowStats& stats, Tensor logits, Tensor row_keys, Tensor current,
                       const SamplingParameters& p) {
  const Checks c = checks("row_stats");
  const auto [rows, cols] = check_row_stats(c, stats, logits, row_keys, current, p);
  if (is_given(stats.p_current)) check_indices(c.op(), "current", current, cols);
  pool_.for_ranges(rows, row_grain(cols), [&, n = cols](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const RowLogits x(simd_, logits, row, p.forbidden);
      RowSoftmax softmax(simd_, is_given(stats.p_second), is_given(stats.entropy));
      x.for_chunks([&](const float* chunk, std::int64_t first, std::int64_t count) {
        softmax.add(chunk, first, count);
      });
      const std::int64_t argmax = softmax.argmax();
      set<std::int32_t>(stats.argmax, row, argmax);
      set<float>(stats.p_first, row, softmax.probability(x[argmax]));
      set<float>(stats.p_second, row, softmax.probability(softmax.second()));
      set<float>(stats.entropy, row, softmax.entropy());
      if (is_given(stats.p_current))
        set<float>(stats.p_current, row, softmax.probability(x[current.as<std::int32_t>()[row]]));
      if (!is_given(stats.draw) && !is_given(stats.p_draw)) continue;
      const auto key = std::uint64_t(row_keys.as<std::int64_t>()[row]);
      const std::int64_t token = drawn_token(simd_, x, argmax, key * std::uint64_t(n), p);
      set<std::int32_t>(stats.draw, row, token);
      set<float>(stats.p_draw, row, softmax.probability(x[token]));
    }
  });
}

}  // namespace lacuna
