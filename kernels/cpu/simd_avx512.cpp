// The same loops for processors with AVX-512 (x86-64-v4), compiled with flags of their own.
#include <immintrin.h>

#include "kernels/cpu/simd.h"

namespace lacuna::simd_avx512 {
#define LACUNA_SIMD_NAME "avx512"
#define LACUNA_VECTOR_BYTES 64
#include "kernels/cpu/simd_kernels.inc"
}  // namespace lacuna::simd_avx512
