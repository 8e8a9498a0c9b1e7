// The loops of simd_avx512_amx.cpp with emulated tiles, compiled for the instruction set every
// build assumes.
#include "kernels/cpu/simd.h"

namespace lacuna::simd_tiles {

/// TDPBF16PS and its like as Intel's manual has them ("Instruction Set Reference"): the lower and
/// the upper elements of pairs are summed apart from zero on, by fused multiply-adds, and both
/// added to the tile. (The instruction also flushes subnormal numbers, which the tests have none
/// of.) Outside of configure() and release() there are no tiles.
struct EmulatedTiles {
  struct State {
    bool configured;
    float lanes[8][16][16];
  };
  static thread_local State state;

  static void configure() {
    state = {};
    state.configured = true;
  }
  static void release() { state.configured = false; }
  static void need_tiles() {
    if (!state.configured) __builtin_trap();
  }

  static void zero() {
    need_tiles();
    for (int t = 0; t < 4; ++t) __builtin_memset(state.lanes[t], 0, sizeof state.lanes[t]);
  }
  template <int tile>
  static void load(const void* at, std::int64_t row_bytes) {
    need_tiles();
    for (int i = 0; i < 16; ++i)
      __builtin_memcpy(state.lanes[tile][i], static_cast<const char*>(at) + i * row_bytes, 64);
  }
  template <int tile>
  static void store(float* at, std::int64_t row_bytes) {
    need_tiles();
    for (int i = 0; i < 16; ++i)
      __builtin_memcpy(reinterpret_cast<char*>(at) + i * row_bytes, state.lanes[tile][i], 64);
  }
  template <int sums>
  static void product() {
    need_tiles();
    const auto low = [](float pair) {
      return __builtin_bit_cast(float, __builtin_bit_cast(std::uint32_t, pair) << 16);
    };
    const auto high = [](float pair) {
      return __builtin_bit_cast(float, __builtin_bit_cast(std::uint32_t, pair) & 0xffff0000u);
    };
    const auto& a = state.lanes[4 + sums / 2];
    const auto& b = state.lanes[6 + sums % 2];
    for (int m = 0; m < 16; ++m) {
      float lower[16] = {}, upper[16] = {};
      for (int k = 0; k < 16; ++k)
        for (int n = 0; n < 16; ++n) {
          lower[n] = __builtin_fmaf(low(a[m][k]), low(b[k][n]), lower[n]);
          upper[n] = __builtin_fmaf(high(a[m][k]), high(b[k][n]), upper[n]);
        }
      for (int n = 0; n < 16; ++n) state.lanes[sums][m][n] += lower[n] + upper[n];
    }
  }
};
thread_local EmulatedTiles::State EmulatedTiles::state;

#define LACUNA_SIMD_NAME "tiles"
#define LACUNA_VECTOR_BYTES 64
#define LACUNA_BF16_TILES EmulatedTiles
#include "kernels/cpu/simd_kernels.inc"
}  // namespace lacuna::simd_tiles
