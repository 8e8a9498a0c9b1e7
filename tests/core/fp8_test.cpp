#include "core/fp8.h"

#include <cmath>
#include <limits>
#include <vector>

#include "core/half.h"
#include "tests/support/golden.h"
#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

template <class Code>
class Fp8 : public ::testing::Test {
 protected:
  static float value(std::uint32_t bits) { return to_float(Code{std::uint8_t(bits)}); }
  static std::uint8_t bits(float x) { return to_fp8<Code>(x).bits; }
  static constexpr float kLargest = Fp8Format<Code>::has_infinity ? 57344.0f : 448.0f;
  static std::string name() { return name_of(dtype_of<Code>); }
};
using Codes = ::testing::Types<E4M3, E5M2>;
TYPED_TEST_SUITE(Fp8, Codes);

TYPED_TEST(Fp8, AgreesWithPyTorch) {
  const Golden golden("fp8");
  const Tensor values = golden[this->name() + "_values"], x = golden[this->name() + "_x"],
               codes = golden[this->name() + "_codes"];
  ASSERT_EQ(values.count(), 256);
  for (std::uint32_t bits = 0; bits < 256; ++bits) {
    const float expected = values.as<float>()[bits];
    if (std::isnan(expected))
      EXPECT_TRUE(std::isnan(this->value(bits))) << bits;
    else
      EXPECT_EQ(this->value(bits), expected) << bits;
  }
  ASSERT_GT(x.count(), 1400);
  for (std::int64_t i = 0; i < x.count(); ++i)
    ASSERT_EQ(this->bits(x.as<float>()[i]), codes.as<std::uint8_t>()[i]) << x.as<float>()[i];
}

/// Of every bf16: no other value is nearer, and of two as near the even code is taken. Values grow
/// with their codes.
TYPED_TEST(Fp8, EveryBf16BecomesTheNearestValue) {
  const std::uint32_t largest = Fp8Format<TypeParam>::largest;
  ASSERT_EQ(this->value(largest), this->kLargest);
  std::uint32_t below = 0;  // the code of the largest value that is at most |x|
  for (std::uint32_t half = 0; half <= 0x7f80; ++half) {
    const float x = to_float(BFloat16{std::uint16_t(half)});
    while (below < largest && this->value(below + 1) <= x) ++below;
    std::uint32_t expected = below;
    if (below < largest) {
      const double down = double(x) - double(this->value(below)),
                   up = double(this->value(below + 1)) - double(x);
      if (up < down || (up == down && below % 2 == 1)) ++expected;
    }
    ASSERT_EQ(this->bits(x), expected) << x;
    ASSERT_EQ(this->bits(-x), expected | 0x80u) << -x;
  }
}

TYPED_TEST(Fp8, EveryValueComesBackAndIsOneOfBf16) {
  for (std::uint32_t bits = 0; bits < 256; ++bits) {
    const float x = this->value(bits);
    if (!std::isfinite(x)) continue;
    EXPECT_EQ(this->bits(x), bits);
    EXPECT_EQ(to_float(to_bf16(x)), x);
  }
}

TYPED_TEST(Fp8, SaturatesAndKeepsNan) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(this->value(this->bits(inf)), this->kLargest);
  EXPECT_EQ(this->value(this->bits(-inf)), -this->kLargest);
  EXPECT_EQ(this->value(this->bits(3e38f)), this->kLargest);
  for (const float nan : {std::nanf(""), -std::nanf("1")})
    EXPECT_TRUE(std::isnan(this->value(this->bits(nan))));
}

/// Of every positive bf16, subnormals too.
TYPED_TEST(Fp8, FactorIsTheSmallestPowerOfTwoThatFits) {
  const double largest = double(this->kLargest);
  for (std::uint32_t half = 1; half < 0x7f80; ++half) {
    const double amax = double(to_float(BFloat16{std::uint16_t(half)}));
    const double f = double(fp8_factor<TypeParam>(float(amax)));
    int exponent = 0;
    ASSERT_EQ(std::frexp(f, &exponent), 0.5) << amax;
    ASSERT_LE(amax / f, largest) << amax;
    ASSERT_TRUE(amax / f > largest / 2 || f == 0x1p-126) << amax;
  }
  EXPECT_EQ(fp8_factor<TypeParam>(0), 1.0f);
  EXPECT_TRUE(std::isnan(fp8_factor<TypeParam>(std::nanf(""))));
  EXPECT_TRUE(std::isnan(fp8_factor<TypeParam>(std::numeric_limits<float>::infinity())));
}

}  // namespace
}  // namespace lacuna::testing
