#pragma once
#include <array>
#include <cmath>
#include <cstdint>

namespace lacuna {

__extension__ typedef unsigned __int128 uint128;

/// What a random number is for. The values are part of what "the same seed" means: never renumber.
enum class Purpose : std::uint32_t {
  initial_weights = 1,
  data_order = 2,
  mask_ratio = 3,     // t, once per sequence
  mask = 4,           // one draw per token
  random_length = 5,  // once per step
  gumbel = 6,         // sampler: noise on the logits
  remasking = 7,      // sampler: random confidences
  likelihood = 8,
  benchmark = 9,
  block_size = 10,         // once per sequence
  moment_rounding = 11,    // of bf16 moments: one draw per element and update
  gradient_rounding = 12,  // of bf16 gradients: one draw per element and micro-batch
};

/// Philox 4x32-10 (Salmon et al., SC'11): four 32-bit words from a 128-bit counter and a 64-bit
/// key. The same words on every device and layout; nothing is stored between calls.
constexpr std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> c, std::uint64_t key) {
  auto k0 = std::uint32_t(key), k1 = std::uint32_t(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c[2];
    c = {std::uint32_t(p1 >> 32) ^ c[1] ^ k0, std::uint32_t(p1),
         std::uint32_t(p0 >> 32) ^ c[3] ^ k1, std::uint32_t(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

/// A stream of random numbers named by (seed, purpose, index); `index` is a step or a global sample
/// number. Within it, numbers are addressed by position, so any rank can draw any part.
struct CounterRng {
  std::uint64_t seed;
  Purpose purpose;
  std::uint64_t index = 0;

  constexpr std::array<std::uint32_t, 4> block(std::uint32_t i) const {
    return philox({i, std::uint32_t(index), std::uint32_t(index >> 32), std::uint32_t(purpose)},
                  seed);
  }
  /// Uniform 32 bits; four neighbouring positions share one Philox block.
  constexpr std::uint32_t bits(std::uint32_t position) const {
    return block(position / 4)[position % 4];
  }
  /// Uniform on [0,1): multiples of 2^-24, exact in f32.
  constexpr float uniform(std::uint32_t position) const { return uniform_of(bits(position)); }
  /// The same from bits already drawn.
  static constexpr float uniform_of(std::uint32_t bits) { return float(bits >> 8) * 0x1p-24f; }
  /// Uniform on (0,1): odd multiples of 2^-53, so never 0 or 1 and 1 - u is exact. Takes a block of
  /// its own: positions 4i..4i+3 above.
  constexpr double uniform53(std::uint32_t i) const {
    const auto b = block(i);
    const std::uint64_t u = (std::uint64_t{b[0]} << 32 | b[1]) >> 12;
    return (double(u) + 0.5) * 0x1p-52;
  }
  /// Uniform integer in [0, n), n >= 1, without bias beyond 2^-32 relative.
  constexpr std::uint64_t below(std::uint64_t n, std::uint32_t i = 0) const {
    const auto b = block(i);
    const std::uint64_t u = std::uint64_t{b[0]} << 32 | b[1];
    return std::uint64_t((static_cast<uint128>(u) * n) >> 64);
  }
  /// Two independent standard normals (Box-Muller, f64), a block of their own.
  std::array<double, 2> normal_pair(std::uint32_t i) const {
    const auto b = block(i);
    const double u = (double((std::uint64_t{b[0]} << 32 | b[1]) >> 12) + 0.5) * 0x1p-52;
    const double v = (double((std::uint64_t{b[2]} << 32 | b[3]) >> 12) + 0.5) * 0x1p-52;
    const double radius = std::sqrt(-2.0 * std::log(u)), angle = 6.283185307179586 * v;
    return {radius * std::cos(angle), radius * std::sin(angle)};
  }
};

}  // namespace lacuna
