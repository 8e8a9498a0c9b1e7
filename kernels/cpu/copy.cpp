#include <cstring>

#include "core/half.h"
#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"

namespace lacuna {
namespace {

bool converts(DType t) { return t == DType::f32 || t == DType::bf16 || t == DType::f16; }

float widen(float x) { return x; }
float widen(BFloat16 x) { return to_float(x); }
float widen(Float16 x) { return to_float(x); }
void narrow(float& to, float x) { to = x; }
void narrow(BFloat16& to, float x) { to = to_bf16(x); }
void narrow(Float16& to, float x) { to = to_f16(x); }

template <class To, class From>
void convert(void* to, const void* from, std::int64_t n) {
  auto* y = static_cast<To*>(to);
  const auto* x = static_cast<const From*>(from);
  for (std::int64_t i = 0; i < n; ++i) narrow(y[i], widen(x[i]));
}

template <class Type>
void copy_same(void* to, const void* from, std::int64_t n) {
  std::memcpy(to, from, std::size_t(n) * sizeof(Type));
}

/// n elements, from one type to another.
using Move = void (*)(void* to, const void* from, std::int64_t n);

template <class From>
Move conversion_from(DType to) {
  switch (to) {
    case DType::f32:
      return convert<float, From>;
    case DType::bf16:
      return convert<BFloat16, From>;
    default:
      return convert<Float16, From>;
  }
}

Move move_of(DType to, DType from) {
  if (to == from) {
    switch (size_of(to)) {
      case 1:
        return copy_same<std::uint8_t>;
      case 2:
        return copy_same<std::uint16_t>;
      case 4:
        return copy_same<std::uint32_t>;
      default:
        return copy_same<std::uint64_t>;
    }
  }
  switch (from) {
    case DType::f32:
      return conversion_from<float>(to);
    case DType::bf16:
      return conversion_from<BFloat16>(to);
    default:
      return conversion_from<Float16>(to);
  }
}

}  // namespace

void CpuOps::copy(Tensor dst, Tensor src) {
  const Checks c("copy", Place::host);
  c.is_here("dst", dst);
  c.is_here("src", src);
  c.is_same_shape("dst", dst, "src", src);
  CHECK(dst.dtype == src.dtype || (converts(dst.dtype) && converts(src.dtype)), c.op(), ": dst is ",
        dst, " but src is ", src, "; their dtypes must be the same, or f32, bf16 or f16");
  const Move move = move_of(dst.dtype, src.dtype);
  auto* to = static_cast<char*>(dst.data);
  const auto* from = static_cast<const char*>(src.data);
  const std::int64_t to_size = size_of(dst.dtype), from_size = size_of(src.dtype);
  if (dst.contiguous() && src.contiguous()) {
    pool_.for_ranges(dst.count(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      move(to + begin * to_size, from + begin * from_size, end - begin);
    });
    return;
  }
  pool_.for_ranges(dst.rows(), row_grain(dst.cols()), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row)
      move(to + row * dst.stride * to_size, from + row * src.stride * from_size, dst.cols());
  });
}

}  // namespace lacuna
