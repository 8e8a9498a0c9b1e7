#include "core/tensor.h"

#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

TEST(Shape, CountsAndCompares) {
  EXPECT_EQ((Shape{2, 3, 4}).count(), 24);
  EXPECT_EQ((Shape{2, 0, 4}).count(), 0);
  EXPECT_EQ(Shape().count(), 1);
  EXPECT_EQ((Shape{2, 3}), (Shape{2, 3}));
  EXPECT_NE((Shape{2, 3}), (Shape{3, 2}));
  EXPECT_NE((Shape{6}), (Shape{6, 1}));
  EXPECT_EQ(str(Shape{2, 3, 4, 5}), "[2,3,4,5]");
  EXPECT_EQ(str(Shape()), "[]");
}

TEST(DType, NamesAndSizes) {
  EXPECT_EQ(str(DType::f32, ' ', DType::f64, ' ', DType::bf16, ' ', DType::f16),
            "f32 f64 bf16 f16");
  EXPECT_EQ(str(DType::i32, ' ', DType::i64, ' ', DType::u8), "i32 i64 u8");
  EXPECT_EQ(size_of(dtype_of<float>), 4);
  EXPECT_EQ(size_of(dtype_of<double>), 8);
  EXPECT_EQ(size_of(dtype_of<BFloat16>), 2);
  EXPECT_EQ(size_of(dtype_of<Float16>), 2);
  EXPECT_EQ(size_of(dtype_of<std::int32_t>), 4);
  EXPECT_EQ(size_of(dtype_of<std::int64_t>), 8);
  EXPECT_EQ(size_of(dtype_of<std::uint8_t>), 1);
}

class View : public ::testing::Test {
 protected:
  View() : t(x, {4, 6}) {
    for (int i = 0; i < 24; ++i) x[i] = float(i);
  }
  float x[24];
  Tensor t;
};

TEST_F(View, SeesAMatrix) {
  EXPECT_EQ(t.rows(), 4);
  EXPECT_EQ(t.cols(), 6);
  EXPECT_EQ(t.stride, 6);
  EXPECT_EQ(t.bytes(), 96);
  EXPECT_TRUE(t.contiguous());
  const Tensor deep(x, {2, 2, 6});
  EXPECT_EQ(deep.rows(), 4);
  const Tensor vector(x, {24});
  EXPECT_EQ(vector.rows(), 1);
  EXPECT_EQ(vector.cols(), 24);
  EXPECT_EQ(str(t), "[4,6] f32");
}

TEST_F(View, RangesOfRows) {
  const Tensor r = t.row_range(1, 2);
  EXPECT_EQ(r.shape, (Shape{2, 6}));
  EXPECT_EQ(r.as<float>()[0], 6);
  EXPECT_TRUE(r.contiguous());
  const Tensor vector(x, {24});
  EXPECT_EQ(vector.row_range(5, 3).as<float>()[0], 5);
  EXPECT_EQ(vector.row_range(5, 3).shape, Shape{3});
  EXPECT_EQ(t.row_range(4, 0).count(), 0);
  EXPECT_EQ(error_of([&] { t.row_range(3, 2); }), "rows 3+2 of [4,6]");
  EXPECT_EQ(error_of([&] { t.row_range(-1, 2); }), "rows -1+2 of [4,6]");
}

TEST_F(View, RangesOfColumns) {
  const Tensor c = t.column_range(2, 3);
  EXPECT_EQ(c.shape, (Shape{4, 3}));
  EXPECT_EQ(c.stride, 6);
  EXPECT_FALSE(c.contiguous());
  EXPECT_EQ(c.as<float>()[c.stride], 8);
  const Tensor both = c.row_range(1, 1);
  EXPECT_TRUE(both.contiguous()) << "one row is";
  EXPECT_EQ(both.as<float>()[0], 8);
  EXPECT_EQ(c.column_range(1, 2).as<float>()[0], 3);
  EXPECT_EQ(error_of([&] { t.column_range(5, 2); }), "columns 5+2 of [4,6]");
  EXPECT_EQ(error_of([&] { c.column_range(0, 4); }), "columns 0+4 of [4,3]");
}

TEST_F(View, UnderAnotherShape) {
  EXPECT_EQ(t.reshaped({2, 12}).rows(), 2);
  EXPECT_EQ(t.reshaped({24}).as<float>()[23], 23);
  EXPECT_EQ(error_of([&] { t.reshaped({5, 5}); }), "cannot view [4,6] as [5,5]");
  EXPECT_EQ(error_of([&] { t.column_range(0, 3).reshaped({12}); }), "cannot view [4,3] as [12]");
}

TEST_F(View, ChecksItsDType) {
  EXPECT_EQ(error_of([&] { t.as<double>(); }), "a f32 tensor [4,6] was used as f64");
  EXPECT_EQ(error_of([&] { t.as<std::int32_t>(); }), "a f32 tensor [4,6] was used as i32");
}

}  // namespace
}  // namespace lacuna::testing
