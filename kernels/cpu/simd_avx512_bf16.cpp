// The same loops for processors with AVX-512 that multiply pairs of bf16 (AVX512_BF16).
#include <immintrin.h>

#include "kernels/cpu/simd.h"

namespace lacuna::simd_avx512_bf16 {
#define LACUNA_SIMD_NAME "avx512_bf16"
#define LACUNA_VECTOR_BYTES 64
#include "kernels/cpu/simd_kernels.inc"
}  // namespace lacuna::simd_avx512_bf16
