// Products of integers by AVX-VNNI: 256 bits wide, of Intel's cores without AVX-512 and of AMD's
// since Zen 5.
#include <immintrin.h>

#include "kernels/cpu/quantised_product.h"

namespace lacuna::quantised_avx_vnni {
#define LACUNA_QUANTISED_NAME "avx_vnni"
#include "kernels/cpu/quantised_product.inc"
}  // namespace lacuna::quantised_avx_vnni
