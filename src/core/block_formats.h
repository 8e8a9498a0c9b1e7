#pragma once
#include <cstdint>

#include "core/half.h"
#include "core/matrix.h"

namespace lacuna {

// The elements of a row as GGML packs them (github.com/ggml-org/ggml, ggml-common.h and
// ggml-quants.c; the formats are those of GGUF files). Little-endian, without padding.

/// 32 weights d q[i].
struct BlockQ8_0 {
  Float16 d;
  std::int8_t q[32];
};
/// 32 weights d (q - 8): q[i] are the lower halves of the bytes, q[i + 16] the upper ones.
struct BlockQ4_0 {
  Float16 d;
  std::uint8_t q[16];
};
/// Eight groups of 32 weights d scale q - dmin minimum, with 6-bit scales and minima
/// (group_scales()). 32 bytes hold the q of group 2i in their lower halves, those of 2i + 1 in the
/// upper ones.
struct BlockQ4_K {
  Float16 d, dmin;
  std::uint8_t scales[12];
  std::uint8_t q[128];
};
/// As BlockQ4_K; bit g of high[i] adds 16 to q of element i of group g.
struct BlockQ5_K {
  Float16 d, dmin;
  std::uint8_t scales[12];
  std::uint8_t high[32];
  std::uint8_t q[128];
};
/// Sixteen groups of 16 weights d scale (q - 32). Of each half, 128 weights, weight 32 k + i has
/// its lower 4 bits in byte 32 (k % 2) + i of `low`, the lower halves for k < 2, and the upper 2
/// bits in bits 2 k of byte i of `high`.
struct BlockQ6_K {
  std::uint8_t low[128];
  std::uint8_t high[64];
  std::int8_t scales[16];
  Float16 d;
};
static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_K) == 144 &&
              sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210);

/// The 6-bit scales and minima of the eight groups of a BlockQ4_K or BlockQ5_K.
inline void group_scales(const std::uint8_t (&packed)[12], std::uint8_t (&scales)[8],
                         std::uint8_t (&minima)[8]) {
  for (int i = 0; i < 4; ++i) {
    scales[i] = packed[i] & 63;
    minima[i] = packed[i + 4] & 63;
    scales[i + 4] = std::uint8_t((packed[i + 8] & 15) | packed[i] >> 6 << 4);
    minima[i + 4] = std::uint8_t(packed[i + 8] >> 4 | packed[i + 4] >> 6 << 4);
  }
}

/// The elements of whole blocks (of a float format: elements) as f32, with the bits that PyPI's
/// package gguf gives. `from` need not be aligned.
void dequantise(MatrixFormat format, const void* from, std::int64_t count, float* to);

/// Elements in any format: rounded to a float format, or quantise().
void round_to(MatrixFormat format, const float* from, std::int64_t count, void* to);
/// The nearest that a format of blocks can say, or near it: what GGML's own quantisers minimise,
/// the squared error, weighted where they weight it. `count` is a multiple of the block's length,
/// the elements are finite. Error for a float format.
void quantise(MatrixFormat format, const float* from, std::int64_t count, void* to);

}  // namespace lacuna
