#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "core/block_formats.h"
#include "core/check.h"

// Rounding a group of weights to the integers 0..levels (or symmetric ones) is searched: the scale
// that the largest weight suggests is seldom the best. Scales near it are tried, for each the
// integers are fixed, and then the scale (and minimum) with the least squared error for them, which
// is linear regression. The weights of the errors are those of GGML's quantisers
// (make_qkx2_quants and make_qx_quants in ggml-quants.c).

namespace lacuna {
namespace {

int rounded(float x) { return int(std::nearbyint(x)); }

float inverse(float x) { return x != 0 ? 1 / x : 0; }

BlockQ8_0 to_q8_0(const float* x) {
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::abs(x[i]));
  const float scale = largest / 127, by = inverse(scale);
  BlockQ8_0 b;
  b.d = to_f16(scale);
  for (int i = 0; i < 32; ++i) b.q[i] = std::int8_t(std::round(x[i] * by));
  return b;
}

/// The element of the largest magnitude.
float extreme_of(const float* x, int n) {
  return *std::max_element(x, x + n, [](float a, float b) { return std::abs(a) < std::abs(b); });
}

/// The element that is largest has the value -8, as there is no 8.
BlockQ4_0 to_q4_0(const float* x) {
  const float extreme = extreme_of(x, 32);
  const float scale = extreme / -8, by = inverse(scale);
  BlockQ4_0 b;
  b.d = to_f16(scale);
  const auto q = [&](float value) { return std::min(15, int(value * by + 8.5f)); };
  for (int i = 0; i < 16; ++i) b.q[i] = std::uint8_t(q(x[i]) | q(x[i + 16]) << 4);
  return b;
}

/// What x is near to: scale q - minimum.
struct Line {
  float scale = 0, minimum = 0;
};

/// The integers nearest to x, for a scale that is not negative.
template <std::size_t n>
void round_to_line(const float* x, Line line, int levels, std::array<int, n>& q) {
  const float by = inverse(line.scale);
  for (std::size_t i = 0; i < n; ++i)
    q[i] = std::clamp(rounded((x[i] + line.minimum) * by), 0, levels);
}

constexpr int kGroup = 32;  // of Q4_K and Q5_K
using GroupOfQ = std::array<int, kGroup>;

/// Regression of x on q, both weighted; the minimum is not negative, as it is stored unsigned.
Line fit_line(const float* x, const float* weight, const GroupOfQ& q) {
  float w = 0, wx = 0, wq = 0, wqq = 0, wqx = 0;
  for (int i = 0; i < kGroup; ++i) {
    const float at = float(q[std::size_t(i)]);
    w += weight[i];
    wx += weight[i] * x[i];
    wq += weight[i] * at;
    wqq += weight[i] * at * at;
    wqx += weight[i] * at * x[i];
  }
  const float determinant = w * wqq - wq * wq;
  Line line;
  if (determinant > 0) {
    line.scale = (w * wqx - wq * wx) / determinant;
    line.minimum = -(wqq * wx - wq * wqx) / determinant;
  }
  if (!(line.minimum > 0)) line = {wqq > 0 ? wqx / wqq : 0, 0};
  return line;
}

float squared_error(const float* x, const float* weight, Line line, const GroupOfQ& q) {
  float sum = 0;
  for (int i = 0; i < kGroup; ++i) {
    const float difference = line.scale * float(q[std::size_t(i)]) - line.minimum - x[i];
    sum += weight[i] * difference * difference;
  }
  return sum;
}

Line best_line(const float* x, int levels) {
  const float low = std::min(0.0f, *std::min_element(x, x + kGroup)),
              high = *std::max_element(x, x + kGroup);
  if (!(high > low)) return {0, -low};
  float squares = 0, weight[kGroup];
  for (int i = 0; i < kGroup; ++i) squares += x[i] * x[i];
  const float typical = std::sqrt(squares / kGroup);
  for (int i = 0; i < kGroup; ++i) weight[i] = typical + std::abs(x[i]);
  Line best{(high - low) / float(levels), -low};
  GroupOfQ q;
  round_to_line(x, best, levels, q);
  float least = squared_error(x, weight, best, q);
  for (int step = -10; step <= 10; ++step) {
    const Line tried{(high - low) / (float(levels) + 0.1f * float(step)), -low};
    round_to_line(x, tried, levels, q);
    const Line fitted = fit_line(x, weight, q);
    if (!(fitted.scale > 0)) continue;
    if (const float error = squared_error(x, weight, fitted, q); error < least) {
      least = error;
      best = fitted;
    }
  }
  return best;
}

void pack_scales(const std::array<int, 8>& scales, const std::array<int, 8>& minima,
                 std::uint8_t (&packed)[12]) {
  for (std::size_t i = 0; i < 4; ++i) {
    packed[i] = std::uint8_t(scales[i] | scales[i + 4] >> 4 << 6);
    packed[i + 4] = std::uint8_t(minima[i] | minima[i + 4] >> 4 << 6);
    packed[i + 8] = std::uint8_t((scales[i + 4] & 15) | (minima[i + 4] & 15) << 4);
  }
}

/// Calls put(group, element, q) for the integers of 0..levels that make up 256 weights, and fills
/// the block's scales.
template <class Block, class Put>
void quantise_groups(const float* x, int levels, Block& b, Put&& put) {
  std::array<Line, 8> lines;
  float largest_scale = 0, largest_minimum = 0;
  for (std::size_t g = 0; g < 8; ++g) {
    lines[g] = best_line(x + kGroup * g, levels);
    largest_scale = std::max(largest_scale, lines[g].scale);
    largest_minimum = std::max(largest_minimum, lines[g].minimum);
  }
  b.d = to_f16(largest_scale / 63);
  b.dmin = to_f16(largest_minimum / 63);
  const float d = to_float(b.d), dmin = to_float(b.dmin);
  std::array<int, 8> scales, minima;
  for (std::size_t g = 0; g < 8; ++g) {
    scales[g] = std::min(63, rounded(lines[g].scale * inverse(d)));
    minima[g] = std::min(63, rounded(lines[g].minimum * inverse(dmin)));
    GroupOfQ q;
    round_to_line(x + kGroup * g, {d * float(scales[g]), dmin * float(minima[g])}, levels, q);
    for (std::size_t i = 0; i < kGroup; ++i) put(g, i, q[i]);
  }
  pack_scales(scales, minima, b.scales);
}

BlockQ4_K to_q4_k(const float* x) {
  BlockQ4_K b{};
  quantise_groups(x, 15, b, [&](std::size_t g, std::size_t i, int q) {
    b.q[g / 2 * 32 + i] |= std::uint8_t(q << g % 2 * 4);
  });
  return b;
}

BlockQ5_K to_q5_k(const float* x) {
  BlockQ5_K b{};
  quantise_groups(x, 31, b, [&](std::size_t g, std::size_t i, int q) {
    b.q[g / 2 * 32 + i] |= std::uint8_t((q & 15) << g % 2 * 4);
    b.high[i] |= std::uint8_t(q >> 4 << g);
  });
  return b;
}

constexpr int kSmallGroup = 16;  // of Q6_K

int symmetric(float x, float by) { return std::clamp(rounded(x * by), -32, 31); }

/// The scale, of either sign, with which integers of -32..31 come nearest to the weights.
float best_scale(const float* x) {
  const float extreme = extreme_of(x, kSmallGroup);
  if (extreme == 0) return 0;
  float best = 0, most = 0;  // what the error is less than without weights
  for (int step = -9; step <= 9; ++step) {
    const float by = -(32 + 0.1f * float(step)) / extreme;
    float wqx = 0, wqq = 0;
    for (int i = 0; i < kSmallGroup; ++i) {
      const float q = float(symmetric(x[i], by)), weight = x[i] * x[i];
      wqx += weight * q * x[i];
      wqq += weight * q * q;
    }
    if (wqq > 0 && wqx * wqx > most * wqq) {
      most = wqx * wqx / wqq;
      best = wqx / wqq;
    }
  }
  return best;
}

BlockQ6_K to_q6_k(const float* x) {
  BlockQ6_K b{};
  float scales[16], extreme = 0;
  for (int g = 0; g < 16; ++g) {
    scales[g] = best_scale(x + kSmallGroup * g);
    if (std::abs(scales[g]) > std::abs(extreme)) extreme = scales[g];
  }
  b.d = to_f16(extreme / -128);
  const float d = to_float(b.d);
  for (int at = 0; at < 256; ++at) {
    const int group = at / kSmallGroup, half = at / 128, k = at % 128 / 32, i = at % 32;
    if (at % kSmallGroup == 0)
      b.scales[group] = std::int8_t(std::clamp(rounded(scales[group] * inverse(d)), -128, 127));
    const int q = symmetric(x[at], inverse(d * float(b.scales[group]))) + 32;
    b.low[64 * half + k % 2 * 32 + i] |= std::uint8_t((q & 15) << k / 2 * 4);
    b.high[32 * half + i] |= std::uint8_t(q >> 4 << 2 * k);
  }
  return b;
}

template <int elements, class Block>
void write_blocks(const float* from, std::int64_t count, void* to,
                  Block (*quantised)(const float*)) {
  char* at = static_cast<char*>(to);
  for (std::int64_t i = 0; i < count; i += elements, at += sizeof(Block)) {
    const Block b = quantised(from + i);
    std::memcpy(at, &b, sizeof b);
  }
}

}  // namespace

void quantise(MatrixFormat format, const float* from, std::int64_t count, void* to) {
  (void)bytes_of_row(format, count);
  switch (format) {
    case MatrixFormat::q8_0:
      return write_blocks<32>(from, count, to, to_q8_0);
    case MatrixFormat::q4_0:
      return write_blocks<32>(from, count, to, to_q4_0);
    case MatrixFormat::q4_k:
      return write_blocks<256>(from, count, to, to_q4_k);
    case MatrixFormat::q5_k:
      return write_blocks<256>(from, count, to, to_q5_k);
    case MatrixFormat::q6_k:
      return write_blocks<256>(from, count, to, to_q6_k);
    default:
      fail(str("a matrix cannot be quantised to ", format));
  }
}

}  // namespace lacuna
