#include "core/half.h"

#include <cmath>
#include <limits>

#include "tests/support/golden.h"
#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

float from_bits(std::uint32_t bits) { return std::bit_cast<float>(bits); }

TEST(Half, RoundsAsPyTorchDoes) {
  const Golden golden("kernels_half");
  const Tensor x = golden["x"], bf16 = golden["bf16"], f16 = golden["f16"];
  ASSERT_GT(x.count(), 3000);
  for (std::int64_t i = 0; i < x.count(); ++i) {
    const float number = x.as<float>()[i];
    ASSERT_EQ(to_bf16(number).bits, bf16.as<BFloat16>()[i].bits) << number;
    ASSERT_EQ(to_f16(number).bits, f16.as<Float16>()[i].bits) << number;
  }
}

TEST(Half, EveryValueComesBack) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const BFloat16 b{std::uint16_t(bits)};
    const Float16 h{std::uint16_t(bits)};
    if (std::isnan(to_float(b))) {
      ASSERT_TRUE(std::isnan(to_float(to_bf16(to_float(b)))));
    } else {
      ASSERT_EQ(to_bf16(to_float(b)).bits, bits);
    }
    if (std::isnan(to_float(h))) {
      ASSERT_TRUE(std::isnan(to_float(to_f16(to_float(h)))));
    } else {
      ASSERT_EQ(to_f16(to_float(h)).bits, bits);
    }
  }
}

TEST(Half, ValuesAreThoseOfTheFormats) {
  EXPECT_EQ(to_float(BFloat16{0x3F80}), 1.0f);
  EXPECT_EQ(to_float(BFloat16{0xC049}), -3.140625f);
  EXPECT_EQ(to_float(BFloat16{0x0001}), std::ldexp(1.0f, -133));
  EXPECT_EQ(to_float(Float16{0x3C00}), 1.0f);
  EXPECT_EQ(to_float(Float16{0x7BFF}), 65504.0f);
  EXPECT_EQ(to_float(Float16{0x0400}), std::ldexp(1.0f, -14));
  EXPECT_EQ(to_float(Float16{0x0001}), std::ldexp(1.0f, -24));
  EXPECT_EQ(to_float(Float16{0x83FF}), -std::ldexp(1023.0f, -24));
  EXPECT_TRUE(std::signbit(to_float(Float16{0x8000})));
}

TEST(Half, NearestAndTiesToEven) {
  // Between 1 and the next bf16, 1 + 2^-7, and the next half, 1 + 2^-10.
  EXPECT_EQ(to_bf16(1 + 0x1p-8f).bits, 0x3F80);
  EXPECT_EQ(to_bf16(1 + 3 * 0x1p-8f).bits, 0x3F82);
  EXPECT_EQ(to_bf16(1 + 0x1p-8f + 0x1p-20f).bits, 0x3F81);
  EXPECT_EQ(to_f16(1 + 0x1p-11f).bits, 0x3C00);
  EXPECT_EQ(to_f16(1 + 3 * 0x1p-11f).bits, 0x3C02);
  EXPECT_EQ(to_f16(1 + 0x1p-11f + 0x1p-20f).bits, 0x3C01);
}

TEST(Half, WhatIsTooLargeOrSmall) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(to_float(to_bf16(std::numeric_limits<float>::max())), inf);
  EXPECT_EQ(to_float(to_bf16(-inf)), -inf);
  EXPECT_EQ(to_float(to_f16(65519.0f)), 65504.0f);
  EXPECT_EQ(to_float(to_f16(65520.0f)), inf);  // a tie, and infinity is the even one
  EXPECT_EQ(to_float(to_f16(-1e30f)), -inf);
  EXPECT_EQ(to_f16(0x1p-25f).bits, 0x0000);  // a tie with the smallest
  EXPECT_EQ(to_f16(0x1p-25f * 1.0001f).bits, 0x0001);
  EXPECT_EQ(to_f16(-0.0f).bits, 0x8000);
}

TEST(Half, NotANumberStaysSo) {
  // Also those whose upper bits alone would read as infinity.
  for (const std::uint32_t bits :
       {0x7FC00000u, 0x7F800001u, 0xFF800001u, 0x7F80FFFFu, 0xFFFFFFFFu}) {
    EXPECT_TRUE(std::isnan(to_float(to_bf16(from_bits(bits))))) << bits;
    EXPECT_TRUE(std::isnan(to_float(to_f16(from_bits(bits))))) << bits;
  }
}

}  // namespace
}  // namespace lacuna::testing
