// The loops for the instruction set every build assumes (CMakeLists.txt): AVX2 and FMA on x86.
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/cpu/simd.h"

namespace lacuna::simd_avx2 {
#if defined(__x86_64__)
#define LACUNA_SIMD_NAME "avx2"
#else
#define LACUNA_SIMD_NAME "portable"
#endif
#define LACUNA_VECTOR_BYTES 32
#include "kernels/cpu/simd_kernels.inc"
}  // namespace lacuna::simd_avx2
