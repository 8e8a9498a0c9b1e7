#pragma once
#include <bit>
#include <cstdint>

#include "core/tensor.h"

namespace lacuna {

// FP8 (arXiv:2209.05433; the Open Compute Project's OFP8): e4m3 has no infinities, one NaN per sign
// and values up to 448; e5m2 is IEEE-like, up to 57344. Both largest values are 1.75 times a power
// of two. Every value of either is one of bf16.

template <class Code>
struct Fp8Format;
template <>
struct Fp8Format<E4M3> {
  static constexpr int mantissa_bits = 3, bias = 7, largest_exponent = 8;
  static constexpr bool has_infinity = false;
  static constexpr std::uint8_t largest = 0x7e;
};
template <>
struct Fp8Format<E5M2> {
  static constexpr int mantissa_bits = 2, bias = 15, largest_exponent = 15;
  static constexpr bool has_infinity = true;
  static constexpr std::uint8_t largest = 0x7b;
};

// Without branches, so that loops over them are vectorised.

/// Exact, NaN and infinities included.
template <class Code>
constexpr float fp8_value(Code x) {
  using F = Fp8Format<Code>;
  const std::uint32_t sign = std::uint32_t{x.bits} >> 7 << 31, magnitude = x.bits & 0x7fu;
  // Read as a float it is too small by the difference of the biases, subnormals as well.
  const float value = std::bit_cast<float>(magnitude << (23 - F::mantissa_bits)) *
                      std::bit_cast<float>(std::uint32_t(254 - F::bias) << 23);
  const bool infinite = F::has_infinity && magnitude == F::largest + 1u;
  const std::uint32_t not_finite = infinite ? 0x7f800000u : 0x7fc00000u;
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return std::bit_cast<float>(sign | (magnitude > F::largest ? not_finite : bits));
}
constexpr float to_float(E4M3 x) { return fp8_value(x); }
constexpr float to_float(E5M2 x) { return fp8_value(x); }

/// Rounds to nearest, ties to even, and saturates: what is larger than the largest value, infinity
/// too, becomes that. NaN stays NaN. As the GPU's cvt.rn.satfinite.
template <class Code>
constexpr Code to_fp8(float x) {
  using F = Fp8Format<Code>;
  constexpr int shift = 23 - F::mantissa_bits;
  constexpr std::uint32_t rebias = std::uint32_t(127 - F::bias) << 23,
                          largest = (std::uint32_t{F::largest} << shift) + rebias,
                          least_normal = rebias + (1u << 23),
                          unit = std::uint32_t(128 - F::bias - F::mantissa_bits + 23) << 23;
  const auto u = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = u >> 24 & 0x80u, magnitude = u & 0x7fffffffu,
                      saturated = magnitude < largest ? magnitude : largest;
  const std::uint32_t normal =
      (saturated - rebias + (1u << (shift - 1)) - 1 + (saturated >> shift & 1u)) >> shift;
  // Float addition rounds to a multiple of the least subnormal.
  const float shifted = std::bit_cast<float>(saturated) + std::bit_cast<float>(unit);
  const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(shifted) - unit,
                      code = saturated < least_normal ? subnormal : normal;
  return {std::uint8_t(magnitude > 0x7f800000u ? 0x7fu : sign | code)};
}

/// Magnitudes of floats are ordered as these; NaN is above infinity.
constexpr std::uint32_t magnitude_bits(float x) {
  return std::bit_cast<std::uint32_t>(x) & 0x7fffffffu;
}

/// The scale of a tensor whose largest magnitude is `amax`: the smallest power of two f for which
/// amax / f does not exceed the largest value, so that division by f is exact; at least 2^-126. 1
/// for 0, NaN for NaN and infinity.
template <class Code>
constexpr float fp8_factor(float amax) {
  const auto u = std::bit_cast<std::uint32_t>(amax);
  const std::uint32_t exponent = u >> 23;
  if (u == 0) return 1;
  if (exponent == 255) return std::bit_cast<float>(0x7fc00000u);
  const int power =
      int(exponent) - Fp8Format<Code>::largest_exponent + ((u & 0x7fffffu) > 0x600000u);
  return std::bit_cast<float>(std::uint32_t(power < 1 ? 1 : power) << 23);
}

}  // namespace lacuna
