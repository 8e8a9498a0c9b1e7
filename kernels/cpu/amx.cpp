#include "kernels/cpu/amx.h"

#include <cstdint>
#include <vector>

#include "core/half.h"
#include "kernels/cpu/linear_bf16.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace lacuna {

#if defined(__x86_64__) && defined(__linux__)
namespace {

// CPUID leaf 7, register EDX; XCR0; and <asm/prctl.h> of Linux 5.16, which Debian's headers may
// lack.
constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24, kOsXsave = 1u << 27;
constexpr unsigned kTileConfig = 1u << 17, kTileData = 1u << 18;
constexpr int kRequestPermission = 0x1023, kTileDataNumber = 18;

bool processor_has_tiles() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & kAmxBf16) && (d & kAmxTile);
}

bool system_keeps_tiles() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & kOsXsave)) return false;
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & kTileConfig) && (low & kTileData);
}

}  // namespace

bool may_use_amx() {
  static const bool may = processor_has_tiles() && system_keeps_tiles() &&
                          syscall(SYS_arch_prctl, kRequestPermission, kTileDataNumber) == 0;
  return may;
}
#else
bool may_use_amx() { return false; }
#endif

bool multiplies_exactly(const LinearBf16& product) {
  // Edges in every direction; rows above what is computed as few rows.
  constexpr std::int64_t kRows = 37, kCols = 49, kDepth = 71;
  const auto value = [](std::int64_t i) { return float(i * 29 % 17 - 8); };
  std::vector<BFloat16> a(kRows * kDepth), b(kCols * kDepth);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = to_bf16(value(std::int64_t(i)));
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = to_bf16(value(std::int64_t(i) + 5));
  for (const std::int64_t rows : {std::int64_t{3}, kRows}) {
    std::vector<float> c(std::size_t(rows * kCols), 3.0f);
    Bf16Piece p{};
    p.f32 = c.data();
    p.a = a.data();
    p.b = b.data();
    p.c_stride = kCols;
    p.a_stride = p.b_stride = kDepth;
    p.b_transposed = p.accumulate = true;
    p.rows = rows;
    p.cols = kCols;
    p.depth = kDepth;
    std::vector<float> scratch(std::size_t(product.scratch(p)) + 16);
    p.scratch = scratch.data() + (64 - reinterpret_cast<std::uintptr_t>(scratch.data()) % 64) / 4;
    product.multiply(p);
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < kCols; ++j) {
        float sum = 3;
        for (std::int64_t k = 0; k < kDepth; ++k)
          sum +=
              to_float(a[std::size_t(i * kDepth + k)]) * to_float(b[std::size_t(j * kDepth + k)]);
        if (c[std::size_t(i * kCols + j)] != sum) return false;
      }
  }
  return true;
}

}  // namespace lacuna
