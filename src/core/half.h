#pragma once
#include <bit>
#include <cstdint>

#include "core/tensor.h"

namespace lacuna {

inline float to_float(BFloat16 x) { return std::bit_cast<float>(std::uint32_t{x.bits} << 16); }

/// Rounds to nearest, ties to even; NaN stays NaN.
inline BFloat16 to_bf16(float x) {
  const auto u = std::bit_cast<std::uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {std::uint16_t((u >> 16) | 0x40u)};
  return {std::uint16_t((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

/// Exact: every half value, including subnormals, infinities and NaN.
inline float to_float(Float16 x) {
  const std::uint32_t sign = std::uint32_t{x.bits} >> 15 << 31;
  const std::uint32_t exponent = (x.bits >> 10) & 31u, mantissa = x.bits & 1023u;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) {
    const float magnitude = float(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

/// Rounds to nearest, ties to even; overflow gives infinity, NaN stays NaN.
inline Float16 to_f16(float x) {
  const auto u = std::bit_cast<std::uint32_t>(x);
  const auto sign = std::uint16_t(u >> 16 & 0x8000u);
  const std::uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {std::uint16_t(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu))};
  if (magnitude >= 0x477ff000u) return {std::uint16_t(sign | 0x7c00u)};
  if (magnitude < 0x38800000u) {  // a half subnormal: let float addition do the rounding
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return {std::uint16_t(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u))};
  }
  const std::uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return {std::uint16_t(sign | ((rounded >> 13) - (112u << 10)))};
}

/// The elements of a bf16 or f16 tensor, contiguous on the host, as floats.
inline void to_floats(const Tensor& from, float* to) {
  const auto convert = [&](const auto* x) {
    for (std::int64_t i = 0; i < from.count(); ++i) to[i] = to_float(x[i]);
  };
  if (from.dtype == DType::bf16)
    convert(from.as<BFloat16>());
  else
    convert(from.as<Float16>());
}

}  // namespace lacuna
