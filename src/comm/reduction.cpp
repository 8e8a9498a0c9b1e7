#include "comm/reduction.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/half.h"

namespace lacuna {
namespace {

constexpr int kTile = 1024;  // elements accumulated at a time: at most 8 KiB, in the first cache

// How elements are loaded, accumulated and stored. Integers are added as unsigned ones, which wrap;
// they are compared as what they are.
template <class T>
struct Arithmetic {
  using Sum = std::conditional_t<std::is_same_v<T, std::uint8_t>, std::uint32_t,
                                 typename std::make_unsigned<T>::type>;
  static Sum load(T x) { return Sum(x); }
  static T store(Sum x) { return T(x); }
  static Sum divided(Sum x, std::size_t) { return x; }  // refused by check_all_reduce
  static Sum larger(Sum a, Sum b) { return T(a) < T(b) ? b : a; }
};
template <class T>
struct FloatArithmetic {
  using Sum = T;
  static Sum divided(Sum x, std::size_t n) { return x / Sum(n); }
  static Sum larger(Sum a, Sum b) { return a >= b || a != a ? a : b; }  // NaN stays
};
template <>
struct Arithmetic<float> : FloatArithmetic<float> {
  static float load(float x) { return x; }
  static float store(float x) { return x; }
};
template <>
struct Arithmetic<double> : FloatArithmetic<double> {
  static double load(double x) { return x; }
  static double store(double x) { return x; }
};
template <>
struct Arithmetic<BFloat16> : FloatArithmetic<float> {
  static float load(BFloat16 x) { return to_float(x); }
  static BFloat16 store(float x) { return to_bf16(x); }
};
template <>
struct Arithmetic<Float16> : FloatArithmetic<float> {
  static float load(Float16 x) { return to_float(x); }
  static Float16 store(float x) { return to_f16(x); }
};

template <class T>
void reduce(void* out_bytes, std::span<const void* const> parts, std::int64_t count,
            Reduce operation) {
  using A = Arithmetic<T>;
  using Sum = typename A::Sum;
  auto* out = static_cast<T*>(out_bytes);
  Sum tile[kTile];
  for (std::int64_t begin = 0; begin < count; begin += kTile) {
    const int n = int(std::min<std::int64_t>(kTile, count - begin));
    const auto* first = static_cast<const T*>(parts[0]) + begin;
    for (int i = 0; i < n; ++i) tile[i] = A::load(first[i]);
    for (std::size_t p = 1; p < parts.size(); ++p) {
      const auto* x = static_cast<const T*>(parts[p]) + begin;
      if (operation == Reduce::max)
        for (int i = 0; i < n; ++i) tile[i] = A::larger(tile[i], A::load(x[i]));
      else
        for (int i = 0; i < n; ++i) tile[i] = Sum(tile[i] + A::load(x[i]));
    }
    if (operation == Reduce::mean)
      for (int i = 0; i < n; ++i) tile[i] = A::divided(tile[i], parts.size());
    for (int i = 0; i < n; ++i) out[begin + i] = A::store(tile[i]);
  }
}

}  // namespace

void reduce_in_order(void* out, std::span<const void* const> parts, std::int64_t count, DType dtype,
                     Reduce operation) {
  switch (dtype) {
    case DType::f32:
      return reduce<float>(out, parts, count, operation);
    case DType::f64:
      return reduce<double>(out, parts, count, operation);
    case DType::bf16:
      return reduce<BFloat16>(out, parts, count, operation);
    case DType::f16:
      return reduce<Float16>(out, parts, count, operation);
    case DType::i32:
      return reduce<std::int32_t>(out, parts, count, operation);
    case DType::i64:
      return reduce<std::int64_t>(out, parts, count, operation);
    case DType::u8:
      return reduce<std::uint8_t>(out, parts, count, operation);
    case DType::u16:
    case DType::e4m3:
    case DType::e5m2:
      break;
  }
  fail(str("elements of type ", dtype, " are not reduced"));
}

}  // namespace lacuna
