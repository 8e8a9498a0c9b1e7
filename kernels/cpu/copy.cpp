#include <cstring>

#include "core/half.h"
#include "kernels/checks.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/simd.h"

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

}  // namespace

void CpuOps::move(void* to, DType to_type, const void* from, DType from_type,
                  std::int64_t n) const {
  if (to_type == from_type) {
    std::memcpy(to, from, std::size_t(n * size_of(to_type)));
  } else if (to_type == DType::bf16 && from_type == DType::f32) {
    simd_.bf16.round(static_cast<BFloat16*>(to), static_cast<const float*>(from), n);
  } else if (to_type == DType::f32 && from_type == DType::bf16) {
    simd_.bf16.widen(static_cast<float*>(to), static_cast<const BFloat16*>(from), n);
  } else if (from_type == DType::f32) {
    convert<Float16, float>(to, from, n);
  } else if (from_type == DType::bf16) {
    convert<Float16, BFloat16>(to, from, n);
  } else if (to_type == DType::f32) {
    convert<float, Float16>(to, from, n);
  } else {
    convert<BFloat16, Float16>(to, from, n);
  }
}

void CpuOps::copy(Tensor dst, Tensor src) {
  const Checks c = checks("copy");
  c.is_here("dst", dst);
  c.is_here("src", src);
  c.is_same_shape("dst", dst, "src", src);
  CHECK(dst.dtype == src.dtype || (converts(dst.dtype) && converts(src.dtype)), c.op(), ": dst is ",
        dst, " but src is ", src, "; their dtypes must be the same, or f32, bf16 or f16");
  if (dst.contiguous() && src.contiguous()) {
    auto* to = static_cast<char*>(dst.data);
    const auto* from = static_cast<const char*>(src.data);
    const std::int64_t to_size = size_of(dst.dtype), from_size = size_of(src.dtype);
    pool_.for_ranges(dst.count(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      move(to + begin * to_size, dst.dtype, from + begin * from_size, src.dtype, end - begin);
    });
    return;
  }
  pool_.for_ranges(dst.rows(), row_grain(dst.cols()), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row)
      move(row_address(dst, row), dst.dtype, row_address(src, row), src.dtype, dst.cols());
  });
}

void CpuOps::upload(const std::vector<Upload>& uploads) {
  check_upload(checks("upload"), uploads);
  for (const auto& [to, from] : uploads) copy(to, from);
}

}  // namespace lacuna
