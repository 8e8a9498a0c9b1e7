#include <cmath>
#include <limits>

#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

TEST(Fill, SetsEveryElementAndNoOther) {
  on_every_backend([](CpuOps& ops) {
    for (const Shape shape : {Shape{1}, Shape{0}, Shape{3, 5}, Shape{2, 3, 4, 5}, Shape{40000}}) {
      Array<float> x(shape);
      ops.fill(x, -2.5f);
      for (std::int64_t i = 0; i < x.count(); ++i) ASSERT_EQ(x[i], -2.5f);
      EXPECT_TRUE(x.guards_hold());
    }
  });
}

TEST(Fill, TakesContiguousFloatsOnly) {
  CpuOps ops(1);
  Array<float> gapped({2, 3}, 1);
  Array<std::int32_t> ids({2, 3});
  EXPECT_EQ(error_of([&] { ops.fill(gapped, 0); }),
            "fill: x is [2,3] f32 with 4 elements between rows; it must be contiguous");
  EXPECT_EQ(error_of([&] { ops.fill(ids, 0); }), "fill: x is [2,3] i32; it must be f32 or bf16");
}

TEST(Add, AddsElementByElement) {
  on_every_backend([](CpuOps& ops) {
    for (const Shape shape : {Shape{1}, Shape{0}, Shape{7, 9}, Shape{40001}}) {
      const Array<float> before = normal(shape, 1);
      Array<float> y = before, x = normal(shape, 2);
      ops.add(y, x);
      for (std::int64_t i = 0; i < y.count(); ++i) ASSERT_EQ(y[i], before[i] + x[i]);
      EXPECT_TRUE(y.guards_hold());
    }
  });
}

TEST(Add, KeepsWhatIsNotFinite) {
  on_every_instruction_set([](CpuOps& ops) {
    const float inf = std::numeric_limits<float>::infinity();
    List<float> y{inf, 1.0f, -inf, 0.0f}, x{1.0f, NAN, inf, -inf};
    ops.add(y, x);
    EXPECT_EQ(y[0], inf);
    EXPECT_TRUE(std::isnan(y[1]) && std::isnan(y[2]));
    EXPECT_EQ(y[3], -inf);
  });
}

TEST(Add, NamesWhatDisagrees) {
  CpuOps ops(1);
  Array<float> y({2, 3}), x({3, 2}), gapped({2, 3}, 1);
  EXPECT_EQ(error_of([&] { ops.add(y, x); }),
            "add: y is [2,3] f32 but x is [3,2] f32; their shapes must be the same");
  EXPECT_TRUE(contains(error_of([&] { ops.add(y, gapped); }), "add: x is [2,3] f32 with 4"));
}

TEST(Axpby, ScalesAndAddsElementByElement) {
  on_every_backend([](CpuOps& ops) {
    for (const Shape shape : {Shape{1}, Shape{0}, Shape{7, 9}, Shape{40001}}) {
      const Array<float> before = normal(shape, 1);
      Array<float> y = before, x = normal(shape, 2), by(Shape{1});
      by[0] = 0.5f;
      // Powers of two: exact but for the sum, whether or not it is fused with a product.
      ops.axpby(y, 4.0f, x, -0.25f, by);
      for (std::int64_t i = 0; i < y.count(); ++i)
        ASSERT_EQ(y[i], -0.25f * before[i] + 2.0f * x[i]);
      ops.axpby(y, 2.0f, y, -1.0f);  // of itself
      for (std::int64_t i = 0; i < y.count(); ++i)
        ASSERT_EQ(y[i], -0.25f * before[i] + 2.0f * x[i]);
      EXPECT_TRUE(y.guards_hold());
    }
  });
}

TEST(Axpby, DoesNotReadWhatItOverwrites) {
  on_every_instruction_set([](CpuOps& ops) {
    List<float> y{NAN, 1.0f, NAN}, x{1.0f, -2.0f, NAN};
    ops.axpby(y, 3.0f, x, 0.0f);
    EXPECT_EQ(y[0], 3.0f);
    EXPECT_EQ(y[1], -6.0f);
    EXPECT_TRUE(std::isnan(y[2]));
  });
}

TEST(Axpby, NamesWhatDisagrees) {
  CpuOps ops(1);
  Array<float> y({2, 3}), x({3, 2}), two(Shape{2});
  EXPECT_EQ(error_of([&] { ops.axpby(y, 1, x, 1); }),
            "axpby: y is [2,3] f32 but x is [3,2] f32; their shapes must be the same");
  EXPECT_EQ(error_of([&] { ops.axpby(y, 1, y, 1, two); }),
            "axpby: factor is [2] f32; it must be [1] f32");
}

}  // namespace
}  // namespace lacuna::testing
