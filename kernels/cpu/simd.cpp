#include "kernels/cpu/simd.h"

#include <cstdlib>
#include <string_view>

#include "core/check.h"
#include "kernels/cpu/amx.h"

namespace lacuna {

namespace simd_avx2 {
extern const SimdKernels kernels;
}
#if defined(__x86_64__)
namespace simd_avx512 {
extern const SimdKernels kernels;
}
namespace simd_avx512_bf16 {
extern const SimdKernels kernels;
}
namespace simd_avx512_amx {
extern const SimdKernels kernels;
}

namespace {

/// A processor whose tiles give wrong products is one without: this code has been run with emulated
/// tiles alone (tests/kernels/simd_tiles.cpp).
bool has_working_tiles() {
  static const bool works =
      may_use_amx() && multiplies_exactly(simd_avx512_amx::kernels.linear_bf16);
  return works;
}

}  // namespace
#endif

const SimdKernels* find_simd_kernels(const char* name) {
#if defined(__x86_64__)
  // The features of x86-64-v4, which simd_avx512.cpp and those after it are compiled for.
  const bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (v4 && std::string_view(name) == simd_avx512::kernels.name) return &simd_avx512::kernels;
  if (v4 && __builtin_cpu_supports("avx512bf16") &&
      std::string_view(name) == simd_avx512_bf16::kernels.name)
    return &simd_avx512_bf16::kernels;
  if (v4 && __builtin_cpu_supports("avx512bf16") &&
      std::string_view(name) == simd_avx512_amx::kernels.name && has_working_tiles())
    return &simd_avx512_amx::kernels;
#endif
  return std::string_view(name) == simd_avx2::kernels.name ? &simd_avx2::kernels : nullptr;
}

const SimdKernels& simd_kernels() {
  if (const char* wanted = std::getenv("LACUNA_ISA"); wanted && *wanted) {
    const SimdKernels* found = find_simd_kernels(wanted);
    CHECK(found, "LACUNA_ISA is \"", wanted,
          "\"; it must be avx2, or avx512, avx512_bf16 or avx512_amx on a processor that has it");
    return *found;
  }
  for (const char* wide : {"avx512_amx", "avx512_bf16", "avx512"})
    if (const SimdKernels* found = find_simd_kernels(wide)) return *found;
  return simd_avx2::kernels;
}

}  // namespace lacuna
