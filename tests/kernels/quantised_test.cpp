// Weights in formats of blocks, and of bf16 and f16, beside f32 rows.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/block_formats.h"
#include "core/half.h"
#include "kernels/cpu/quantised_product.h"
#include "kernels/cpu/simd.h"
#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

constexpr MatrixFormat kBlockFormats[] = {MatrixFormat::q8_0, MatrixFormat::q4_0,
                                          MatrixFormat::q4_k, MatrixFormat::q5_k,
                                          MatrixFormat::q6_k};
constexpr const char* kInstructionSets[] = {"avx2", "avx_vnni", "avx512_vnni"};

/// A matrix and its elements in f32. The blocks begin at an odd address, as a file is mapped.
struct Weights {
  std::vector<char> bytes;
  Matrix matrix;
  Array<float> values;

  static Weights quantised(MatrixFormat format, std::int64_t rows, std::int64_t cols) {
    Array<float> x = normal({rows, cols}, 3);
    Weights w(format, rows, cols);
    quantise(format, &x[0], x.count(), w.bytes.data() + 1);
    w.read_values();
    return w;
  }
  /// Any bytes but for f16 scales, which are small: the largest and smallest integers occur.
  static Weights random_blocks(MatrixFormat format, std::int64_t rows, std::int64_t cols) {
    Weights w(format, rows, cols);
    const MatrixFormatInfo& info = info_of(format);
    std::uint32_t state = 1;
    for (char& byte : w.bytes) byte = char((state = state * 1664525u + 1013904223u) >> 24);
    for (std::size_t at = 1; at < w.bytes.size(); at += std::size_t(info.block_bytes)) {
      const Float16 scale = to_f16(0.25f + float(w.bytes[at] & 7) / 16);
      const std::size_t first = format == MatrixFormat::q6_k ? 208 : 0;
      std::memcpy(w.bytes.data() + at + first, &scale, 2);
      if (format == MatrixFormat::q4_k || format == MatrixFormat::q5_k)
        std::memcpy(w.bytes.data() + at + 2, &scale, 2);
    }
    w.read_values();
    return w;
  }

 private:
  Weights(MatrixFormat format, std::int64_t rows, std::int64_t cols)
      : bytes(1 + std::size_t(rows * bytes_of_row(format, cols))),
        matrix(bytes.data() + 1, rows, cols, format),
        values({rows, cols}) {}
  void read_values() {
    matrix.data = bytes.data() + 1;
    dequantise(matrix.format, matrix.data, matrix.count(), &values[0]);
  }
};

const QuantisedKernels& portable() { return *find_quantised_kernels("portable"); }

/// Calls test(ops, name) for each instruction set that this processor has.
void on_every_set(int threads, const std::function<void(CpuOps&, const char*)>& test) {
  for (const char* name : kInstructionSets)
    if (const QuantisedKernels* kernels = find_quantised_kernels(name)) {
      CpuOps ops(threads, simd_kernels(), *kernels);
      test(ops, name);
    }
}

TEST(Quantised, InstructionSetsThatAreNotTested) {
  for (const char* name : kInstructionSets)
    if (!find_quantised_kernels(name)) GTEST_SKIP() << "this processor has no " << name;
}

// Rows of x and of w that are no multiples of what is computed at a time, a last chunk of fewer
// groups, more rows than are computed or rounded at once.
const ProductSizes kProductSizes[] = {{1, 32, 1},   {3, 96, 33},   {5, 256, 31},  {8, 288, 64},
                                      {2, 512, 70}, {13, 768, 32}, {259, 256, 3}, {1031, 32, 2}};

TEST(Quantised, EveryInstructionSetGivesTheSameBits) {
  for (const MatrixFormat format : kBlockFormats)
    for (const auto [n, in, out] : kProductSizes) {
      if (in % info_of(format).block_elements != 0) continue;
      Array<float> x = normal({n, in}, 1, 1, 2);
      const Weights w = Weights::random_blocks(format, out, in);
      for (const GradMode mode : {GradMode::overwrite, GradMode::accumulate}) {
        CpuOps reference(1, simd_kernels(), portable());
        Array<float> expected({n, out}, 3);
        expected.set(0.5f);
        reference.linear_forward(expected, x, w.matrix, mode);
        for (const int threads : {1, 3})
          on_every_set(threads, [&](CpuOps& ops, const char* name) {
            Array<float> y({n, out}, 3);
            y.set(0.5f);
            ops.linear_forward(y, x, w.matrix, mode);
            EXPECT_TRUE(y.same_bits(expected))
                << text_of(format) << ", " << name << ", " << n << " x " << in << " x " << out
                << ", " << threads << " threads";
            EXPECT_TRUE(y.guards_hold());
          });
      }
    }
}

// A group's rounding error is uniform within half a step of max / 127: 0.3 / 127 of the maximum,
// which for 32 normal numbers is 2.1 of their sigma.
TEST(Quantised, ProductsAreWithinOnePercentOfExactOnes) {
  for (const MatrixFormat format : kBlockFormats) {
    const std::int64_t n = 20, in = 1024, out = 40;
    Array<float> x = normal({n, in}, 1);
    const Weights w = Weights::quantised(format, out, in);
    CpuOps ops(2);
    Array<float> y({n, out});
    ops.linear_forward(y, x, w.matrix);
    double error = 0, squares = 0;
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t o = 0; o < out; ++o) {
        double exact = 0;
        for (std::int64_t k = 0; k < in; ++k)
          exact += double(x.at(i, k)) * double(w.values.at(o, k));
        error += std::pow(double(y.at(i, o)) - exact, 2);
        squares += exact * exact;
      }
    EXPECT_LT(std::sqrt(error / squares), 0.007) << text_of(format);
    EXPECT_GT(std::sqrt(error / squares), 0.001) << text_of(format);
  }
}

// The largest integers there are, on both sides: no sum saturates.
TEST(Quantised, LargestFactorsDoNotSaturate) {
  for (const MatrixFormat format : kBlockFormats)
    for (const char byte : {char(0xff), char(0x80), char(0x7f), char(0)}) {
      const std::int64_t in = 512, out = 33;
      Weights w = Weights::random_blocks(format, out, in);
      const MatrixFormatInfo& info = info_of(format);
      const Float16 one = to_f16(1);
      for (std::size_t at = 1; at < w.bytes.size(); at += std::size_t(info.block_bytes)) {
        std::memset(w.bytes.data() + at, byte, std::size_t(info.block_bytes));
        std::memcpy(w.bytes.data() + at + (format == MatrixFormat::q6_k ? 208 : 0), &one, 2);
        if (format == MatrixFormat::q4_k || format == MatrixFormat::q5_k)
          std::memcpy(w.bytes.data() + at + 2, &one, 2);
      }
      dequantise(format, w.matrix.data, w.matrix.count(), &w.values[0]);
      for (const float sign : {1.0f, -1.0f}) {
        Array<float> x({5, in});
        for (std::int64_t i = 0; i < x.count(); ++i) x[i] = sign * 127;  // exact in 8 bits
        on_every_set(1, [&](CpuOps& ops, const char* name) {
          Array<float> y({5, out});
          ops.linear_forward(y, x, w.matrix);
          double exact = 0, size = 0;
          for (std::int64_t k = 0; k < in; ++k) {
            exact += double(sign * 127) * double(w.values.at(0, k));
            size += 127 * std::abs(double(w.values.at(0, k)));
          }
          for (std::int64_t i = 0; i < y.count(); ++i)
            EXPECT_NEAR(y[i], exact, 1e-5 * size + 1e-6) << text_of(format) << ", " << name;
        });
      }
    }
}

TEST(Quantised, WhatIsNotFiniteStaysSo) {
  const std::int64_t in = 512, out = 20;
  for (const MatrixFormat format : kBlockFormats) {
    const Weights w = Weights::quantised(format, out, in);
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
      Array<float> x = normal({3, in}, 1);
      x.at(1, 300) = bad;
      on_every_set(1, [&](CpuOps& ops, const char* name) {
        Array<float> y({3, out});
        ops.linear_forward(y, x, w.matrix);
        for (std::int64_t o = 0; o < out; ++o) {
          EXPECT_TRUE(std::isfinite(y.at(0, o)) && std::isfinite(y.at(2, o))) << name;
          EXPECT_TRUE(std::isnan(y.at(1, o))) << text_of(format) << ", " << name;
        }
      });
    }
  }
}

TEST(Quantised, ZerosAndTinyAndHugeRows) {
  const std::int64_t in = 256, out = 5;
  for (const MatrixFormat format : kBlockFormats) {
    const Weights w = Weights::quantised(format, out, in);
    Array<float> x = normal({4, in}, 1), y({4, out});
    for (std::int64_t k = 0; k < in; ++k) {
      x.at(0, k) = 0;
      x.at(1, k) *= 1e-38f;
      x.at(2, k) *= 1e30f;
    }
    CpuOps ops(1), reference(1, simd_kernels(), portable());
    ops.linear_forward(y, x, w.matrix);
    Array<float> expected({4, out});
    reference.linear_forward(expected, x, w.matrix);
    EXPECT_TRUE(y.same_bits(expected));
    for (std::int64_t o = 0; o < out; ++o) {
      EXPECT_EQ(y.at(0, o), 0);
      EXPECT_NEAR(y.at(1, o), 0, 1e-35);
      EXPECT_TRUE(std::isfinite(y.at(2, o)));
      EXPECT_GT(std::abs(y.at(2, o)), 1e25);
    }
  }
}

TEST(Quantised, ARowDoesNotDependOnOthers) {
  const std::int64_t n = 300, in = 512, out = 70;
  for (const MatrixFormat format : kBlockFormats) {
    Array<float> x = normal({n, in}, 1, 1, 3);
    const Weights w = Weights::quantised(format, out, in);
    CpuOps one(1), three(3);
    Array<float> all({n, out});
    one.linear_forward(all, x, w.matrix);
    for (const std::int64_t rows : {1, 2, 3, 7, 8, 31, 257}) {
      Array<float> y({rows, out});
      three.linear_forward(y, x.tensor().row_range(n - rows, rows), w.matrix);
      EXPECT_EQ(std::memcmp(&y[0], &all.at(n - rows, 0), std::size_t(y.count()) * sizeof(float)), 0)
          << text_of(format) << ", " << rows;
    }
  }
}

TEST(Stored, HalvesGiveTheBitsOfTheSameWeightsInF32) {
  for (const MatrixFormat format : {MatrixFormat::bf16, MatrixFormat::f16})
    for (const auto [n, in, out] : {ProductSizes{1, 7, 9}, ProductSizes{40, 300, 77},
                                    ProductSizes{3, 70000, 5}, ProductSizes{0, 3, 4}}) {
      Array<float> x = normal({n, in}, 1), values = normal({out, in}, 2);
      std::vector<std::uint16_t> bits(std::size_t(values.count()));
      for (std::int64_t i = 0; i < values.count(); ++i) {
        bits[std::size_t(i)] =
            format == MatrixFormat::bf16 ? to_bf16(values[i]).bits : to_f16(values[i]).bits;
        values[i] = format == MatrixFormat::bf16 ? to_float(BFloat16{bits[std::size_t(i)]})
                                                 : to_float(Float16{bits[std::size_t(i)]});
      }
      const Matrix w(bits.data(), out, in, format);
      for (const int threads : {1, 3}) {
        CpuOps ops(threads);
        Array<float> y({n, out}, 2), expected({n, out}, 2);
        for (const GradMode mode : {GradMode::overwrite, GradMode::accumulate}) {
          ops.linear_forward(expected, x, values, mode);
          ops.linear_forward(y, x, w, mode);
        }
        EXPECT_TRUE(y.same_bits(expected)) << text_of(format) << ", " << in;
        EXPECT_TRUE(y.guards_hold());
      }
    }
}

TEST(Stored, EmbeddingsAreDequantised) {
  List<std::int32_t> ids{4, 0, 4, 1};
  CpuOps ops(2);
  for (const MatrixFormat format : kBlockFormats) {
    const Weights w = Weights::random_blocks(format, 5, 512);
    Array<float> y({4, 512});
    ops.embedding_forward(y, ids, w.matrix);
    for (std::int64_t i = 0; i < 4; ++i)
      EXPECT_EQ(std::memcmp(&y.at(i, 0), &w.values.at(ids[i], 0), 512 * sizeof(float)), 0)
          << text_of(format);
  }
}

// Rows of bf16 are those of f32 that they are, and results are rounded once.
TEST(Stored, BlocksBesideBf16Rows) {
  const std::int64_t n = 259, in = 512, out = 45;
  Array<float> x = normal({n, in}, 1);
  Array<BFloat16> narrow({n, in}, 3), y({n, out}, 2), added({n, out}, 2);
  for (std::int64_t i = 0; i < x.count(); ++i) {
    narrow[i] = to_bf16(x[i]);
    x[i] = to_float(narrow[i]);
  }
  for (std::int64_t i = 0; i < y.count(); ++i) added[i] = to_bf16(0.5f);
  List<std::int32_t> ids{4, 0, 44};
  CpuOps ops(2);
  for (const MatrixFormat format : kBlockFormats) {
    EXPECT_TRUE(ops.reads(format, DType::bf16));
    const Weights w = Weights::quantised(format, out, in);
    Array<float> expected({n, out}), expected_added({n, out});
    expected_added.set(0.5f);
    ops.linear_forward(expected, x, w.matrix);
    ops.linear_forward(expected_added, x, w.matrix, GradMode::accumulate);
    ops.linear_forward(y, narrow, w.matrix);
    Array<BFloat16> sum = added;
    ops.linear_forward(sum, narrow, w.matrix, GradMode::accumulate);
    for (std::int64_t i = 0; i < y.count(); ++i) {
      ASSERT_EQ(y[i].bits, to_bf16(expected[i]).bits) << text_of(format) << ", " << i;
      ASSERT_EQ(sum[i].bits, to_bf16(expected_added[i]).bits) << text_of(format) << ", " << i;
    }
    EXPECT_TRUE(y.guards_hold() && sum.guards_hold());
    Array<BFloat16> rows({3, in});
    ops.embedding_forward(rows, ids, w.matrix);
    for (std::int64_t i = 0; i < rows.count(); ++i)
      ASSERT_EQ(rows[i].bits, to_bf16(w.values.at(ids[i / in], i % in)).bits) << text_of(format);
  }
}

TEST(Stored, NamesWhatDisagrees) {
  CpuOps ops(1);
  const Weights w = Weights::random_blocks(MatrixFormat::q8_0, 4, 64);
  Array<float> x({2, 32}), y({2, 4}), wide({2, 64});
  EXPECT_EQ(error_of([&] { ops.linear_forward(y, x, w.matrix); }),
            "linear_forward: x is [2,32] f32 but w is [4,64] q8_0; x must have 64 columns");
  EXPECT_TRUE(
      contains(error_of([&] { ops.linear_backward_input(wide, y, w.matrix, GradMode::overwrite); }),
               "linear_backward_input: w is [4,64] q8_0; it must be f32"));
  EXPECT_TRUE(ops.reads(MatrixFormat::q4_k, DType::f32));
}

TEST(Dequantise, GivesTheElementsOfEveryFormat) {
  on_every_instruction_set([](CpuOps& ops) {
    for (const MatrixFormat format : kBlockFormats) {
      SCOPED_TRACE(text_of(format));
      Weights w = Weights::random_blocks(format, 37, 512);
      Array<float> y({37, 512});
      Array<BFloat16> narrow({37, 512});
      ops.dequantise(y, w.matrix);
      ops.dequantise(narrow, w.matrix);
      EXPECT_TRUE(y.same_bits(w.values));
      for (std::int64_t i = 0; i < y.count(); ++i)
        ASSERT_EQ(narrow[i].bits, to_bf16(w.values[i]).bits);
      EXPECT_TRUE(y.guards_hold() && narrow.guards_hold());
    }
    Array<float> y({3, 2});
    Array<Float16> halves({3, 2});
    for (std::int64_t i = 0; i < 6; ++i) halves[i] = to_f16(float(i) / 3);
    ops.dequantise(y, halves.tensor());
    for (std::int64_t i = 0; i < 6; ++i) EXPECT_EQ(y[i], to_float(halves[i]));
  });
}

TEST(Dequantise, NamesWhatDisagrees) {
  CpuOps ops(1);
  Weights w = Weights::quantised(MatrixFormat::q8_0, 2, 32);
  Array<float> y({2, 31});
  EXPECT_EQ(error_of([&] { ops.dequantise(y, w.matrix); }),
            "dequantise: y is [2,31] f32; it must be [2,32] f32");
}

}  // namespace
}  // namespace lacuna::testing
