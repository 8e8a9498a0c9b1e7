#include "kernels/cpu/quantised_product.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string_view>

#include "core/block_formats.h"
#include "core/check.h"
#include "kernels/cpu/simd.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace lacuna {

#if defined(__x86_64__)
namespace quantised_avx2 {
extern const QuantisedKernels kernels;
}
namespace quantised_avx_vnni {
extern const QuantisedKernels kernels;
}
namespace quantised_avx512_vnni {
extern const QuantisedKernels kernels;
}
#endif

namespace {

// --- the same without vector instructions, for other processors and as the tests' reference -----

void quantise_row_portable(const QuantisedRows& to, std::int64_t row, const float* x,
                           std::int64_t depth) {
  for (std::int64_t k = 0; k < depth; k += kQuantGroup) {
    const std::int64_t at = to.at(k / kQuantChunk, row), group = k % kQuantChunk / kQuantGroup;
    std::uint8_t* q = to.q + at * kQuantChunk + group * kQuantGroup;
    float largest = 0;
    bool finite = true;
    for (int i = 0; i < kQuantGroup; ++i) {
      largest = std::max(largest, std::abs(x[k + i]));
      finite = finite && std::isfinite(x[k + i]);
    }
    if (!finite) largest = 0;
    const float by = largest > 1e-36f ? 127 / largest : 0;  // finite
    int sum = 0;
    for (int i = 0; i < kQuantGroup; ++i) {
      const int rounded = by > 0 ? int(std::nearbyint(x[k + i] * by)) : 0;
      q[i] = std::uint8_t(rounded + to.offset);
      sum += rounded;
    }
    const float scale = finite ? largest / 127 : std::numeric_limits<float>::quiet_NaN();
    to.scale[at * kQuantGroups + group] = scale;
    to.sum[at * kQuantGroups + group] = scale * float(sum);
  }
}

/// Some weights of a row as scale q + offset, in groups of 16 or 32.
struct UnpackedChunk {
  std::int64_t group = kQuantGroup;
  int q[kQuantChunk];
  float scale[kQuantChunk / 16], offset[kQuantChunk / 16] = {};
};

template <class Block>
Block read_block(const char* from) {
  Block block;
  std::memcpy(&block, from, sizeof block);
  return block;
}

template <class Block>
void unpack_groups(const Block& b, UnpackedChunk& to) {
  std::uint8_t scales[8], minima[8];
  group_scales(b.scales, scales, minima);
  for (int g = 0; g < 8; ++g) {
    to.scale[g] = to_float(b.d) * float(scales[g]);
    to.offset[g] = -(to_float(b.dmin) * float(minima[g]));
    for (int i = 0; i < 32; ++i) to.q[32 * g + i] = b.q[g / 2 * 32 + i] >> g % 2 * 4 & 15;
  }
}

/// `n` elements from the beginning of a chunk on.
UnpackedChunk unpack(MatrixFormat format, const char* from, std::int64_t n) {
  UnpackedChunk to;
  switch (format) {
    case MatrixFormat::q8_0:
      for (std::int64_t g = 0; g < n / 32; ++g) {
        const auto b = read_block<BlockQ8_0>(from + g * std::int64_t(sizeof(BlockQ8_0)));
        to.scale[g] = to_float(b.d);
        std::copy(b.q, b.q + 32, to.q + 32 * g);
      }
      return to;
    case MatrixFormat::q4_0:
      for (std::int64_t g = 0; g < n / 32; ++g) {
        const auto b = read_block<BlockQ4_0>(from + g * std::int64_t(sizeof(BlockQ4_0)));
        to.scale[g] = to_float(b.d);
        for (int i = 0; i < 32; ++i) to.q[32 * g + i] = (b.q[i % 16] >> i / 16 * 4 & 15) - 8;
      }
      return to;
    case MatrixFormat::q4_k:
      unpack_groups(read_block<BlockQ4_K>(from), to);
      return to;
    case MatrixFormat::q5_k: {
      const auto b = read_block<BlockQ5_K>(from);
      unpack_groups(b, to);
      for (int i = 0; i < kQuantChunk; ++i) to.q[i] += (b.high[i % 32] >> i / 32 & 1) << 4;
      return to;
    }
    case MatrixFormat::q6_k: {
      const auto b = read_block<BlockQ6_K>(from);
      to.group = 16;
      for (int g = 0; g < 16; ++g) to.scale[g] = to_float(b.d) * float(b.scales[g]);
      for (int i = 0; i < kQuantChunk; ++i) {
        const int half = i / 128, k = i % 128 / 32, at = i % 32;
        to.q[i] = ((b.low[64 * half + k % 2 * 32 + at] >> k / 2 * 4 & 15) |
                   (b.high[32 * half + at] >> 2 * k & 3) << 4) -
                  32;
      }
      return to;
    }
    default:
      fail(str("no product of integers with weights of ", format));
  }
}

void multiply_portable(const QuantisedPiece& p) {
  const MatrixFormatInfo& info = info_of(p.format);
  for (std::int64_t col = 0; col < p.cols; ++col)
    for (std::int64_t row = 0; row < p.rows; ++row) {
      float sum = 0;
      for (std::int64_t k = 0; k < p.depth; k += kQuantChunk) {
        const std::int64_t n = std::min(kQuantChunk, p.depth - k),
                           at = p.x.at(k / kQuantChunk, p.row + row);
        const UnpackedChunk w = unpack(
            p.format, p.w + col * p.row_bytes + k / info.block_elements * info.block_bytes, n);
        const std::uint8_t* x = p.x.q + at * kQuantChunk;
        for (std::int64_t g = 0; g < n / w.group; ++g) {
          int dot = 0;
          for (std::int64_t i = g * w.group; i < (g + 1) * w.group; ++i)
            dot += w.q[i] * std::int8_t(x[i] - p.x.offset);
          const std::int64_t of_x = at * kQuantGroups + g * w.group / kQuantGroup;
          sum = std::fma(float(dot), w.scale[g] * p.x.scale[of_x], sum);
          if (p.format == MatrixFormat::q4_k || p.format == MatrixFormat::q5_k)
            sum = std::fma(w.offset[g], p.x.sum[of_x], sum);
        }
      }
      float& y = p.y[row * p.y_stride + col];
      y = p.accumulate ? y + sum : sum;
    }
}

constexpr QuantisedKernels kPortable{"portable", quantise_row_portable, multiply_portable,
                                     dequantise};

#if defined(__x86_64__)
/// Bit 4 of EAX of leaf 7, subleaf 1, for which compilers have had different names.
bool has_avx_vnni() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) &&
         (eax >> 4 & 1) != 0;
}
/// x86-64-v4, which quantised_avx512_vnni.cpp is compiled for, and VNNI.
bool has_avx512_vnni() {
  return find_simd_kernels("avx512") && __builtin_cpu_supports("avx512vnni");
}
#endif

}  // namespace

const QuantisedKernels* find_quantised_kernels(const char* name) {
  const std::string_view wanted = name;
#if defined(__x86_64__)
  if (wanted == "avx512_vnni" && has_avx512_vnni()) return &quantised_avx512_vnni::kernels;
  if (wanted == "avx_vnni" && has_avx_vnni()) return &quantised_avx_vnni::kernels;
  if (wanted == "avx2") return &quantised_avx2::kernels;  // every build assumes it
#endif
  return wanted == "portable" ? &kPortable : nullptr;
}

const QuantisedKernels& quantised_kernels() {
  const char* chosen = std::getenv("LACUNA_ISA");
  const bool avx2 = chosen && std::string_view(chosen) == "avx2";
  for (const char* name : {"avx512_vnni", "avx_vnni", "avx2"})
    if (const QuantisedKernels* found = find_quantised_kernels(name);
        found && (!avx2 || std::string_view(name) == "avx2"))
      return *found;
  return kPortable;
}

}  // namespace lacuna
