#pragma once
#include <cstdint>

namespace lacuna {

/// Elements from one row of logits to the next, for so many columns: a multiple of 64, whatever
/// part of a vocabulary a rank holds. cuBLAS's fast kernels and the TMA of Hopper ask for rows that
/// begin at multiples of 16 bytes, the kernels of this program for packs of 16 bytes.
constexpr std::int64_t logits_stride(std::int64_t columns) { return (columns + 63) / 64 * 64; }

}  // namespace lacuna
