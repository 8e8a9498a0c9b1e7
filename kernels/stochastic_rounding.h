#pragma once
#include <bit>
#include <cstdint>

#include "core/philox.h"
#include "core/tensor.h"

namespace lacuna {

/// x rounded to one of the two neighbouring bf16 values, to the one away from 0 with a probability
/// of its distance from the other: unbiased, where rounding to nearest would leave a number as it
/// is whose changes are below half a unit in the last place. `bits` is uniform on [0, 2^16).
/// Infinities and NaN stay what they are.
constexpr BFloat16 round_stochastically(float x, std::uint32_t bits) {
  const auto u = std::bit_cast<std::uint32_t>(x);
  if ((u & 0x7f800000u) == 0x7f800000u)
    return {std::uint16_t(u >> 16 | ((u & 0x7fffffu) != 0 ? 0x40u : 0u))};
  return {std::uint16_t((u + bits) >> 16)};
}

/// The numbers of a vector's elements among all of a model: element i is column c = (first + i) %
/// width of row r = (first + i) / width of a matrix that begins at number `begin`, and whose rows
/// are `stride` apart. Of a vector that lies there in one piece: width = stride = 1.
struct ElementNumbers {
  std::uint64_t begin = 0;
  std::int64_t first = 0, width = 1, stride = 1;

  constexpr bool consecutive() const { return width == stride; }
  constexpr std::uint64_t operator[](std::int64_t i) const {
    const std::int64_t at = first + i;
    return begin + std::uint64_t(consecutive() ? at : at / width * stride + at % width);
  }
};

/// The random words of the moments in update `step`: the low half of element n's rounds its first
/// moment, the high half its second. Four elements n, n + 1, …, from a multiple of 4 on, share a
/// Philox block. step < 2^32.
struct MomentRounding {
  std::uint64_t seed = 0, step = 0;

  constexpr std::array<std::uint32_t, 4> words(std::uint64_t n) const {
    return CounterRng{seed, Purpose::moment_rounding, step | n >> 32 << 32}.block(std::uint32_t(n) /
                                                                                  4);
  }
};

/// The random words of the sums of gradients as those of micro-batch `micro_batch` of step `step`
/// are added: the low half of element n's rounds its sum. Micro-batches have the same number on any
/// layout of ranks that has the same ones. step < 2^32, micro_batch < 2^20, n < 2^44.
struct GradientRounding {
  std::uint64_t seed = 0, step = 0, micro_batch = 0;

  constexpr std::array<std::uint32_t, 4> words(std::uint64_t n) const {
    return CounterRng{seed, Purpose::gradient_rounding, step | (micro_batch << 12 | n >> 32) << 32}
        .block(std::uint32_t(n) / 4);
  }
};

}  // namespace lacuna
