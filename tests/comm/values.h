#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "core/half.h"
#include "core/philox.h"
#include "core/tensor_of.h"

namespace lacuna::testing {

// Any element type from and to a number.
template <class T>
T from_number(double x) {
  return T(x);
}
template <>
inline BFloat16 from_number(double x) {
  return to_bf16(float(x));
}
template <>
inline Float16 from_number(double x) {
  return to_f16(float(x));
}
template <class T>
double to_number(T x) {
  return double(x);
}
template <>
inline double to_number(BFloat16 x) {
  return double(to_float(x));
}
template <>
inline double to_number(Float16 x) {
  return double(to_float(x));
}

/// Numbers of every size and sign, for which the order of addition shows: what `rank` contributes.
/// Every rank can draw those of all.
inline std::vector<float> contribution(int rank, std::int64_t count, std::uint64_t seed = 7) {
  const CounterRng rng{seed, Purpose::benchmark, std::uint64_t(rank)};
  std::vector<float> x;
  x.reserve(std::size_t(count));
  for (std::int64_t i = 0; i < count; ++i) {
    const float magnitude = std::ldexp(1.0f, int(rng.bits(std::uint32_t(2 * i)) % 21) - 10);
    x.push_back((2 * rng.uniform(std::uint32_t(2 * i + 1)) - 1) * magnitude);
  }
  return x;
}

template <class T>
::testing::AssertionResult same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size())
    return ::testing::AssertionFailure() << a.size() << " and " << b.size() << " elements";
  for (std::size_t i = 0; i < a.size(); ++i)
    if (std::memcmp(&a[i], &b[i], sizeof(T)) != 0)
      return ::testing::AssertionFailure()
             << "element " << i << ": " << to_number(a[i]) << " and " << to_number(b[i]);
  return ::testing::AssertionSuccess();
}

}  // namespace lacuna::testing
