// Products of integers by AVX-512 with VNNI.
#include <immintrin.h>

#include "kernels/cpu/quantised_product.h"

#if defined(__GNUC__) && !defined(__clang__)
// g++ 12 takes the undefined vectors within its own intrinsics for mistakes.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace lacuna::quantised_avx512_vnni {
#define LACUNA_QUANTISED_NAME "avx512_vnni"
#include "kernels/cpu/quantised_product.inc"
}  // namespace lacuna::quantised_avx512_vnni
