#include "training/finite.h"

#include <cstring>

namespace lacuna {
namespace {

/// An exponent of ones means infinite or NaN. Without branches, for the compiler's vectors.
template <class Bits>
bool finite(const void* data, std::int64_t n, Bits exponent) {
  const auto* bytes = static_cast<const char*>(data);
  unsigned found = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    Bits bits;
    std::memcpy(&bits, bytes + i * std::int64_t(sizeof bits), sizeof bits);
    found |= unsigned((bits & exponent) == exponent);
  }
  return found == 0;
}

}  // namespace

bool all_finite(const Tensor& t) {
  CHECK(t.place == Place::host && t.contiguous(), "only contiguous tensors on the host can be ",
        "looked through, not ", t);
  switch (t.dtype) {
    case DType::f32:
      return finite<std::uint32_t>(t.data, t.count(), 0x7f800000);
    case DType::bf16:
      return finite<std::uint16_t>(t.data, t.count(), 0x7f80);
    case DType::f16:
      return finite<std::uint16_t>(t.data, t.count(), 0x7c00);
    default:
      fail(str("elements of type ", t.dtype, " cannot be looked through"));
  }
}

}  // namespace lacuna
