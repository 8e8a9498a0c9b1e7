// The loops for 64-byte vectors, compiled for the instruction set every build assumes: what
// simd_avx512.cpp computes, lane for lane, on processors without AVX-512.
#include "kernels/cpu/simd.h"

namespace lacuna::simd_wide {
#define LACUNA_SIMD_NAME "wide"
#define LACUNA_VECTOR_BYTES 64
#include "kernels/cpu/simd_kernels.inc"
}  // namespace lacuna::simd_wide
