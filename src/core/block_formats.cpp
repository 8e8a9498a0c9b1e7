#include "core/block_formats.h"

#include <cstring>

#include "core/check.h"

namespace lacuna {
namespace {

/// Calls each(block, to) for the blocks of `count` elements; a block is read by value, as it may
/// lie anywhere.
template <class Block, int elements, class Each>
void for_blocks_of(const void* from, std::int64_t count, float* to, Each&& each) {
  const char* at = static_cast<const char*>(from);
  for (std::int64_t i = 0; i < count; i += elements, at += sizeof(Block)) {
    Block block;
    std::memcpy(&block, at, sizeof block);
    each(block, to + i);
  }
}

void dequantise_q8_0(const BlockQ8_0& b, float* to) {
  const float d = to_float(b.d);
  for (int i = 0; i < 32; ++i) to[i] = d * float(b.q[i]);
}

void dequantise_q4_0(const BlockQ4_0& b, float* to) {
  const float d = to_float(b.d);
  for (int i = 0; i < 16; ++i) {
    to[i] = d * float((b.q[i] & 15) - 8);
    to[i + 16] = d * float((b.q[i] >> 4) - 8);
  }
}

/// Q4_K and Q5_K. Products of a scale are exact in f32, so that contracting the difference into a
/// fused multiply-add changes nothing.
template <class Block, class High>
void dequantise_groups(const Block& b, float* to, High&& high) {
  std::uint8_t scales[8], minima[8];
  group_scales(b.scales, scales, minima);
  const float d = to_float(b.d), dmin = to_float(b.dmin);
  for (int g = 0; g < 8; ++g) {
    const float scale = d * float(scales[g]), minimum = dmin * float(minima[g]);
    const std::uint8_t* q = b.q + g / 2 * 32;
    for (int i = 0; i < 32; ++i)
      to[32 * g + i] = scale * float((q[i] >> g % 2 * 4 & 15) + high(g, i)) - minimum;
  }
}

void dequantise_q6_k(const BlockQ6_K& b, float* to) {
  const float d = to_float(b.d);
  for (int half = 0; half < 2; ++half)
    for (int k = 0; k < 4; ++k)
      for (int i = 0; i < 32; ++i) {
        const int low = b.low[64 * half + k % 2 * 32 + i] >> k / 2 * 4 & 15,
                  high = b.high[32 * half + i] >> 2 * k & 3, at = 128 * half + 32 * k + i;
        to[at] = d * float(b.scales[at / 16]) * float((low | high << 4) - 32);
      }
}

void to_floats_of_halves(MatrixFormat format, const void* from, std::int64_t count, float* to) {
  const char* at = static_cast<const char*>(from);
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, at + 2 * i, sizeof bits);
    to[i] = format == MatrixFormat::bf16 ? to_float(BFloat16{bits}) : to_float(Float16{bits});
  }
}

}  // namespace

void dequantise(MatrixFormat format, const void* from, std::int64_t count, float* to) {
  (void)bytes_of_row(format, count);
  switch (format) {
    case MatrixFormat::f32:
      std::memcpy(to, from, std::size_t(count) * sizeof(float));
      return;
    case MatrixFormat::bf16:
    case MatrixFormat::f16:
      return to_floats_of_halves(format, from, count, to);
    case MatrixFormat::q8_0:
      return for_blocks_of<BlockQ8_0, 32>(from, count, to, dequantise_q8_0);
    case MatrixFormat::q4_0:
      return for_blocks_of<BlockQ4_0, 32>(from, count, to, dequantise_q4_0);
    case MatrixFormat::q4_k:
      return for_blocks_of<BlockQ4_K, 256>(from, count, to, [](const BlockQ4_K& b, float* at) {
        dequantise_groups(b, at, [](int, int) { return 0; });
      });
    case MatrixFormat::q5_k:
      return for_blocks_of<BlockQ5_K, 256>(from, count, to, [](const BlockQ5_K& b, float* at) {
        dequantise_groups(b, at, [&](int g, int i) { return (b.high[i] >> g & 1) << 4; });
      });
    case MatrixFormat::q6_k:
      return for_blocks_of<BlockQ6_K, 256>(from, count, to, dequantise_q6_k);
  }
  fail("unknown format of a matrix");
}

void round_to(MatrixFormat format, const float* from, std::int64_t count, void* to) {
  if (!info_of(format).is_float) return quantise(format, from, count, to);
  if (format == MatrixFormat::f32) {
    std::memcpy(to, from, std::size_t(count) * sizeof(float));
    return;
  }
  char* at = static_cast<char*>(to);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint16_t bits =
        format == MatrixFormat::bf16 ? to_bf16(from[i]).bits : to_f16(from[i]).bits;
    std::memcpy(at + 2 * i, &bits, sizeof bits);
  }
}

}  // namespace lacuna
