// Products of integers by AVX2, which every build for x86 assumes.
#include <immintrin.h>

#include "kernels/cpu/quantised_product.h"

namespace lacuna::quantised_avx2 {
#define LACUNA_QUANTISED_NAME "avx2"
#include "kernels/cpu/quantised_product.inc"
}  // namespace lacuna::quantised_avx2
