#include "core/block_formats.h"

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

constexpr MatrixFormat kBlockFormats[] = {MatrixFormat::q8_0, MatrixFormat::q4_0,
                                          MatrixFormat::q4_k, MatrixFormat::q5_k,
                                          MatrixFormat::q6_k};

std::vector<float> dequantised(MatrixFormat format, const void* from, std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  dequantise(format, from, count, values.data());
  return values;
}

// scripts/golden/block_formats.py
TEST(BlockFormats, GiveTheBitsOfTheGgufPackage) {
  const Golden golden("block_formats");
  for (const MatrixFormat format : kBlockFormats) {
    const Tensor blocks = golden[str(format, "/blocks")], values = golden[str(format, "/values")];
    // From an odd address, too: files are read where they lie.
    std::string moved(1 + std::size_t(blocks.count()), 'x');
    std::memcpy(moved.data() + 1, blocks.data, std::size_t(blocks.count()));
    const std::vector<float> ours = dequantised(format, moved.data() + 1, values.count());
    EXPECT_EQ(std::memcmp(ours.data(), values.data, ours.size() * sizeof(float)), 0)
        << text_of(format);
  }
}

TEST(BlockFormats, QuantiseAsTheGgufPackage) {
  const Golden golden("block_formats");
  const Tensor weights = golden["weights"];
  for (const MatrixFormat format : {MatrixFormat::q8_0, MatrixFormat::q4_0}) {
    const Tensor expected = golden[str(format, "/quantised")];
    std::string ours(std::size_t(expected.count()), '\0');
    quantise(format, weights.as<float>(), weights.count(), ours.data());
    EXPECT_EQ(std::memcmp(ours.data(), expected.data, ours.size()), 0) << text_of(format);
  }
}

TEST(BlockFormats, WidenFloats) {
  const float values[] = {0, -1.5f, 65504, 3e-7f};
  std::vector<BFloat16> bf16;
  std::vector<Float16> f16;
  for (const float x : values) {
    bf16.push_back(to_bf16(x));
    f16.push_back(to_f16(x));
  }
  const std::vector<float> of_bf16 = dequantised(MatrixFormat::bf16, bf16.data(), 4),
                           of_f16 = dequantised(MatrixFormat::f16, f16.data(), 4);
  EXPECT_EQ(dequantised(MatrixFormat::f32, values, 4), std::vector<float>(values, values + 4));
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(of_bf16[i], to_float(bf16[i]));
    EXPECT_EQ(of_f16[i], to_float(f16[i]));
  }
  EXPECT_TRUE(contains(error_of([&] { dequantised(MatrixFormat::q4_k, values, 128); }),
                       "whose blocks are 256 elements long"));
  char out[16];
  EXPECT_EQ(error_of([&] { quantise(MatrixFormat::bf16, values, 4, out); }),
            "a matrix cannot be quantised to bf16");
}

/// The root of the mean squared error of quantising `x`, relative to that of x.
double relative_error(MatrixFormat format, const std::vector<float>& x) {
  std::string blocks(std::size_t(bytes_of_row(format, std::int64_t(x.size()))), '\0');
  quantise(format, x.data(), std::int64_t(x.size()), blocks.data());
  const std::vector<float> back = dequantised(format, blocks.data(), std::int64_t(x.size()));
  double error = 0, squares = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    error += std::pow(double(back[i]) - double(x[i]), 2);
    squares += double(x[i]) * double(x[i]);
  }
  return std::sqrt(error / squares);
}

// A step of s has an error of s / sqrt(12). The range of 32 normal numbers is about 4.2 sigma in
// 2^b - 1 steps; the largest magnitude of 16 about 2.1 sigma, in 32 steps.
TEST(BlockFormats, QuantisersKeepNormalWeights) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> x(64 * 256);
  for (float& v : x) v = normal(random);
  EXPECT_LT(relative_error(MatrixFormat::q8_0, x), 0.0065);
  EXPECT_LT(relative_error(MatrixFormat::q4_0, x), 0.095);
  EXPECT_LT(relative_error(MatrixFormat::q4_k, x), 4.2 / 15 / std::sqrt(12.0));
  EXPECT_LT(relative_error(MatrixFormat::q5_k, x), 4.2 / 31 / std::sqrt(12.0));
  EXPECT_LT(relative_error(MatrixFormat::q6_k, x), 2.1 / 32 / std::sqrt(12.0));
}

TEST(BlockFormats, QuantisersTakeAnyFiniteBlock) {
  const std::vector<std::vector<float>> rows{
      std::vector<float>(256, 0.0f), std::vector<float>(256, -0.25f), std::vector<float>(256, 3.5f),
      std::vector<float>(256, 1e-30f)};
  for (const MatrixFormat format : kBlockFormats)
    for (const std::vector<float>& x : rows) {
      std::string blocks(std::size_t(bytes_of_row(format, 256)), '\0');
      quantise(format, x.data(), 256, blocks.data());
      const std::vector<float> back = dequantised(format, blocks.data(), 256);
      for (const float y : back)
        EXPECT_NEAR(y, x[0], std::abs(x[0]) * 0.01 + 1e-9) << text_of(format);
    }
  // One weight far from all others.
  std::vector<float> x(256, 0.01f);
  x[77] = -60;
  for (const MatrixFormat format : kBlockFormats) {
    std::string blocks(std::size_t(bytes_of_row(format, 256)), '\0');
    quantise(format, x.data(), 256, blocks.data());
    const std::vector<float> back = dequantised(format, blocks.data(), 256);
    EXPECT_NEAR(back[77], -60, 0.6) << text_of(format);
  }
}

TEST(BlockFormats, HaveNames) {
  for (const MatrixFormatInfo& info : kMatrixFormats) {
    const std::optional<MatrixFormat> format = format_named(info.name);
    ASSERT_TRUE(format) << info.name;
    EXPECT_EQ(&info_of(*format), &info);
  }
  EXPECT_FALSE(format_named("q3_k"));
  EXPECT_FALSE(format_named(""));
}

}  // namespace
}  // namespace lacuna::testing
