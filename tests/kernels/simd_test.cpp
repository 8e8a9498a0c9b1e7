#include "kernels/cpu/simd.h"

#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "kernels/cpu/amx.h"
#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

/// Distance in units in the last place of the expected value, subnormals included.
double ulps(float actual, double expected) {
  int exponent = 0;
  std::frexp(expected, &exponent);
  return std::abs(double(actual) - expected) / std::ldexp(1.0, std::max(exponent, -125) - 24);
}

TEST(Simd, ExponentialIsWithinTwoUnits) {
  // Every 1009th float of both signs.
  std::vector<float> x;
  for (std::uint32_t bits = 0; bits < 0x7f800000u; bits += 1009) {
    const float number = std::bit_cast<float>(bits);
    if (number <= 88.0f) x.push_back(number);
    if (number <= 86.9f) x.push_back(-number);
  }
  for (const SimdKernels* kernels : instruction_sets()) {
    SCOPED_TRACE(kernels->name);
    std::vector<float> y = x;
    kernels->f32.scaled_exp(y.data(), 0.0f, 1.0f, std::int64_t(y.size()));
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i)
      worst = std::max(worst, ulps(y[i], std::exp(double(x[i]))));
    EXPECT_LE(worst, 2.0);
  }
}

TEST(Simd, ExponentialBeyondTheRange) {
  for (const SimdKernels* kernels : instruction_sets()) {
    const float inf = std::numeric_limits<float>::infinity();
    // NaN also with other bits than usual.
    float x[] = {-87.1f, -104.0f, -1e30f, -inf,
                 0.0f,   -0.0f,   NAN,    std::bit_cast<float>(0xFFABCDEFu)};
    kernels->f32.scaled_exp(x, 0.0f, 1.0f, 8);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(x[i], 0.0f);
    EXPECT_EQ(x[4], 1.0f);
    EXPECT_EQ(x[5], 1.0f);
    EXPECT_TRUE(std::isnan(x[6]) && std::isnan(x[7]));
  }
}

TEST(Simd, MaximumAndSumOfAnyLength) {
  for (const SimdKernels* kernels : instruction_sets()) {
    for (const std::int64_t n : {1, 7, 8, 9, 31, 33, 2047, 2048, 2049, 6000}) {
      for (const std::int64_t at : {std::int64_t{0}, n / 2, n - 1}) {
        Array<float> x = normal({n}, std::uint64_t(n));
        x[at] = 50;
        const auto [max, sum] = kernels->f32.max_and_sum(&x[0], n);
        double expected = 0;
        for (std::int64_t i = 0; i < n; ++i) expected += std::exp(double(x[i]) - 50);
        EXPECT_EQ(max, 50.0f);
        EXPECT_NEAR(sum, expected, 1e-6 * expected);
      }
    }
  }
}

/// What the loops may rely on: slack[i] > 0 whenever number i can win.
TEST(Simd, GumbelSlackIsNeverTooSmall) {
  const std::int64_t n = 5000;
  Array<float> x = normal({n}, 1, 2), slack(Shape{n});
  const CounterRng rng{3, Purpose::gumbel, 4};
  const RandomStream stream{3, 4, std::uint32_t(Purpose::gumbel)};
  for (const SimdKernels* kernels : instruction_sets()) {
    for (const double temperature : {0.1, 1.0, 4.0}) {
      for (const float best : {-5.0f, 0.0f, 5.0f, 20.0f}) {
        const float most =
            kernels->gumbel_slack(&slack[0], &x[0], best, float(1 / temperature), stream, 77, n);
        float largest = 0;
        std::int64_t winners = 0, spared = 0;
        for (std::int64_t i = 0; i < n; ++i) {
          largest = std::max(largest, slack[i]);
          const double u = rng.uniform53(77 + std::uint32_t(i));
          const bool wins = double(x[i]) - temperature * std::log(-std::log(u)) > double(best);
          winners += wins;
          spared += slack[i] <= 0;
          ASSERT_TRUE(!wins || slack[i] > 0) << i;
        }
        EXPECT_EQ(most, largest);
        // -log u <= 2 (1 - u) where u >= 0.21, so few more than twice the winners are let through.
        EXPECT_LE(n - spared, 3 * winners + n / 5);
      }
    }
  }
}

TEST(Simd, TablesByName) {
  EXPECT_EQ(find_simd_kernels("sse9"), nullptr);
  EXPECT_EQ(find_simd_kernels(""), nullptr);
  for (const char* name : {"avx2", "avx512", "avx512_bf16", "avx512_amx", "portable"})
    if (const SimdKernels* found = find_simd_kernels(name)) {
      EXPECT_STREQ(found->name, name);
    }
  EXPECT_GE(instruction_sets().size(), 2u);
}

/// What decides whether this processor's tiles are used finds the emulated ones right, and would
/// find a wrong product.
TEST(Simd, TilesAreTriedBeforeTheyAreUsed) {
  for (const SimdKernels* kernels : instruction_sets())
    EXPECT_TRUE(multiplies_exactly(kernels->linear_bf16)) << kernels->name;
  LinearBf16 wrong = instruction_sets().front()->linear_bf16;
  wrong.multiply = [](const Bf16Piece& p) {
    instruction_sets().front()->linear_bf16.multiply(p);
    p.f32[p.c_stride + 1] += 1;
  };
  EXPECT_FALSE(multiplies_exactly(wrong));
}

class IsaVariable : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const char* value = std::getenv("LACUNA_ISA")) before_ = value;
  }
  void TearDown() override { set(before_); }
  static void set(const std::string& value) { setenv("LACUNA_ISA", value.c_str(), 1); }
  std::string before_;
};

TEST_F(IsaVariable, ChoosesTheTable) {
  for (const char* name : {"avx2", "avx512", "avx512_bf16", "avx512_amx"}) {
    if (!find_simd_kernels(name)) continue;
    set(name);
    EXPECT_STREQ(simd_kernels().name, name);
    EXPECT_TRUE(contains(CpuOps(1).description(), name));
  }
}

TEST_F(IsaVariable, MustBeAvailable) {
  set("sse9");
  EXPECT_EQ(error_of([] { simd_kernels(); }),
            "LACUNA_ISA is \"sse9\"; it must be avx2, or avx512, avx512_bf16 or avx512_amx on a "
            "processor that has it");
}

TEST_F(IsaVariable, EmptyIsUnset) {
  set("");
  const SimdKernels* widest = instruction_sets().front();
  for (const char* name : {"avx512", "avx512_bf16", "avx512_amx"})
    if (const SimdKernels* found = find_simd_kernels(name)) widest = found;
  EXPECT_EQ(&simd_kernels(), widest);
}

}  // namespace
}  // namespace lacuna::testing
