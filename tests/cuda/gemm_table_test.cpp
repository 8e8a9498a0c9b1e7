#include "kernels/platform/gemm_table.h"

#include <gtest/gtest.h>

#include <optional>

#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;

constexpr const char* kDevice = "cuda, NVIDIA H100, 132 multiprocessors, sm_90, cuBLASLt 130001";

Gemm product(std::int64_t m) {
  return {.transpose_a = false,
          .transpose_b = true,
          .m = m,
          .n = 4096,
          .k = 1024,
          .a = reinterpret_cast<const void*>(0x7f0000000100),
          .lda = 1024,
          .b = reinterpret_cast<const void*>(0x7f0000000040),
          .ldb = 1024,
          .c = reinterpret_cast<void*>(0x7f0000000010),
          .ldc = 4160,
          .factors = DType::bf16,
          .result = DType::f32,
          .accumulate = true};
}
std::optional<GemmAlgorithm> found(const GemmTable& table, const Gemm& p) {
  const GemmAlgorithm* algorithm = table.find(GemmShape(p));
  return algorithm ? std::optional(*algorithm) : std::nullopt;
}

TEST(GemmShape, KnowsAddressesByTheirAlignment) {
  const GemmShape shape(product(8));
  EXPECT_EQ(shape.a_alignment, 256u);
  EXPECT_EQ(shape.b_alignment, 64u);
  EXPECT_EQ(shape.c_alignment, 16u);
  Gemm other = product(8);
  other.a = reinterpret_cast<const void*>(0x7f0000100200);
  EXPECT_EQ(GemmShape(other), shape);
  other.a = reinterpret_cast<const void*>(0x7f0000000180);
  EXPECT_NE(GemmShape(other), shape);
}

// Every other argument of cuBLASLt makes another shape.
TEST(GemmShape, DiffersInEveryPart) {
  const std::vector<void (*)(Gemm&)> changes = {[](Gemm& p) { p.transpose_a = true; },
                                                [](Gemm& p) { p.transpose_b = false; },
                                                [](Gemm& p) { ++p.m; },
                                                [](Gemm& p) { ++p.n; },
                                                [](Gemm& p) { ++p.k; },
                                                [](Gemm& p) { ++p.lda; },
                                                [](Gemm& p) { ++p.ldb; },
                                                [](Gemm& p) { ++p.ldc; },
                                                [](Gemm& p) { p.factors = DType::f32; },
                                                [](Gemm& p) { p.result = DType::bf16; }};
  GemmTable table(kDevice);
  table.set(GemmShape(product(8)), {1});
  for (const auto change : changes) {
    Gemm other = product(8);
    change(other);
    EXPECT_FALSE(found(table, other));
  }
}

TEST(GemmTable, ComesBackFromItsText) {
  GemmTable table(kDevice);
  const GemmAlgorithm a = {1, 2, 3, 4, 5, 6, 7, ~std::uint64_t{0}}, b = {0xfedcba9876543210};
  table.set(GemmShape(product(8)), a);
  table.set(GemmShape(product(16)), b);
  GemmTable other(kDevice);
  other.set(GemmShape(product(8)), b);
  other.set(GemmShape(product(24)), b);
  other.read(table.text());
  EXPECT_EQ(found(other, product(8)), a);  // replaced
  EXPECT_EQ(found(other, product(16)), b);
  EXPECT_EQ(found(other, product(24)), b);
  EXPECT_FALSE(found(other, product(32)));
  GemmTable empty(kDevice);
  empty.read(GemmTable(kDevice).text());
  EXPECT_EQ(empty.text(), GemmTable(kDevice).text());
}

TEST(GemmTable, TakesNothingThatIsDamagedOrForeign) {
  GemmTable table(kDevice);
  table.set(GemmShape(product(8)), {1, 2, 3});
  const std::string text = table.text();
  GemmTable mine(kDevice), elsewhere("cuda, NVIDIA A100");
  EXPECT_TRUE(contains(error_of([&] { elsewhere.read(text); }), "NVIDIA H100"));
  EXPECT_TRUE(contains(error_of([&] { elsewhere.read(text); }), "this is 'cuda, NVIDIA A100'"));
  // Every cut and every changed byte.
  for (std::size_t i = 0; i < text.size(); ++i) {
    EXPECT_NE(error_of([&] { mine.read(text.substr(0, i)); }), "") << i;
    std::string changed = text;
    changed[i] = char(changed[i] ^ 1);
    EXPECT_NE(error_of([&] { mine.read(changed); }), "") << i;
  }
  for (const char* other : {"", "\n", "checksum", "{}", "checksum 0000000000000000\n"})
    EXPECT_TRUE(contains(error_of([&] { mine.read(other); }), "no table")) << other;
  EXPECT_NE(error_of([&] { mine.read(text + text); }), "");
  EXPECT_FALSE(found(mine, product(8)));
  mine.read(text);
  EXPECT_TRUE(found(mine, product(8)));
}

}  // namespace
}  // namespace lacuna
