// The same loops for processors with AVX512_BF16 whose AMX multiplies tiles of bf16 as well.
#include <immintrin.h>

#include "kernels/cpu/simd.h"

namespace lacuna::simd_avx512_amx {

/// The operations of kernels/cpu/linear_bf16_tiles.inc. Tiles are numbered by literals: the
/// intrinsics of g++ make the instruction's text of them.
struct AmxTiles {
  static inline __attribute__((always_inline)) void configure() {
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } const config;
    static_assert(sizeof config == 64);
    _tile_loadconfig(&config);
  }
  static inline __attribute__((always_inline)) void release() { _tile_release(); }

  /// Tiles 0 to 3.
  static inline __attribute__((always_inline)) void zero() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }

#define LACUNA_EACH_TILE(operation)                                  \
  if constexpr (tile == 0) operation(0, at, std::size_t(row_bytes)); \
  if constexpr (tile == 1) operation(1, at, std::size_t(row_bytes)); \
  if constexpr (tile == 2) operation(2, at, std::size_t(row_bytes)); \
  if constexpr (tile == 3) operation(3, at, std::size_t(row_bytes)); \
  if constexpr (tile == 4) operation(4, at, std::size_t(row_bytes)); \
  if constexpr (tile == 5) operation(5, at, std::size_t(row_bytes)); \
  if constexpr (tile == 6) operation(6, at, std::size_t(row_bytes)); \
  if constexpr (tile == 7) operation(7, at, std::size_t(row_bytes))

  template <int tile>
  static inline __attribute__((always_inline)) void load(const void* at, std::int64_t row_bytes) {
    asm volatile("" ::: "memory");  // g++ does not know that the instruction reads memory
    LACUNA_EACH_TILE(_tile_loadd);
  }
  template <int tile>
  static inline __attribute__((always_inline)) void store(float* at, std::int64_t row_bytes) {
    LACUNA_EACH_TILE(_tile_stored);
    asm volatile("" ::: "memory");
  }
#undef LACUNA_EACH_TILE

  template <int sums>
  static inline __attribute__((always_inline)) void product() {
    if constexpr (sums == 0) _tile_dpbf16ps(0, 4, 6);
    if constexpr (sums == 1) _tile_dpbf16ps(1, 4, 7);
    if constexpr (sums == 2) _tile_dpbf16ps(2, 5, 6);
    if constexpr (sums == 3) _tile_dpbf16ps(3, 5, 7);
  }
};

#define LACUNA_SIMD_NAME "avx512_amx"
#define LACUNA_VECTOR_BYTES 64
#define LACUNA_BF16_TILES AmxTiles
#include "kernels/cpu/simd_kernels.inc"
}  // namespace lacuna::simd_avx512_amx
