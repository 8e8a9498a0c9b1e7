#include "core/matrix.h"

#include <vector>

#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

TEST(MatrixFormat, DescribesItsBlocks) {
  EXPECT_EQ(str(MatrixFormat::f32, ' ', MatrixFormat::bf16, ' ', MatrixFormat::f16),
            "f32 bf16 f16");
  for (const DType t : {DType::f32, DType::bf16, DType::f16}) {
    EXPECT_EQ(info_of(format_of(t)).dtype, t);
    EXPECT_EQ(bytes_of_row(format_of(t), 7), 7 * size_of(t));
  }
  EXPECT_EQ(bytes_of_row(MatrixFormat::q8_0, 64), 2 * (2 + 32));
  EXPECT_EQ(error_of([] { (void)bytes_of_row(MatrixFormat::q8_0, 48); }),
            "rows of 48 elements as q8_0, whose blocks are 32 elements long");
  EXPECT_EQ(error_of([] { (void)format_of(DType::i32); }),
            "a matrix of weights is i32; it must be f32, bf16 or f16");
}

TEST(Matrix, IsATensorToBeRead) {
  std::vector<float> x{0, 1, 2, 3, 4, 5};
  const Matrix m = Tensor(x.data(), {2, 3});
  EXPECT_EQ(str(m), "[2,3] f32");
  EXPECT_EQ(m.rows(), 2);
  EXPECT_EQ(m.cols(), 3);
  EXPECT_EQ(m.row_bytes, 12);
  EXPECT_TRUE(m.contiguous());
  EXPECT_EQ(m.as<float>(), x.data());
  EXPECT_EQ(m.as_tensor().shape, (Shape{2, 3}));
  EXPECT_THROW(m.as<BFloat16>(), Error);
  const Matrix last = m.row_range(1, 1);
  EXPECT_EQ(last.shape, (Shape{1, 3}));
  EXPECT_EQ(last.as<float>()[0], 3);
  EXPECT_EQ(m.row_range(2, 0).rows(), 0);
  EXPECT_THROW((void)m.row_range(1, 2), Error);
}

TEST(Matrix, KeepsTheGapsOfATensor) {
  std::vector<float> x{0, 1, 2, 3, 4, 5};
  const Matrix m = Tensor(x.data(), {2, 3}).column_range(1, 2);
  EXPECT_FALSE(m.contiguous());
  EXPECT_EQ(m.row_bytes, 12);
  EXPECT_EQ(m.row_range(1, 1).as<float>()[0], 4);
  EXPECT_EQ(m.as_tensor().stride, 3);
}

TEST(Matrix, OfBlocksIsNoTensor) {
  std::vector<char> x(3 * 68);
  const Matrix m(x.data(), 3, 64, MatrixFormat::q8_0);
  EXPECT_EQ(str(m), "[3,64] q8_0");
  EXPECT_FALSE(m.is_float());
  EXPECT_TRUE(m.contiguous());
  EXPECT_EQ(m.row_range(2, 1).data, x.data() + 2 * 68);
  EXPECT_EQ(str(m.as_bytes()), "[3,68] u8");
  EXPECT_EQ(error_of([&] { (void)m.as_tensor(); }),
            "the matrix [3,64] q8_0 was used as a tensor of floats");
}

TEST(Matrix, IsBytes) {
  std::vector<BFloat16> x(12);
  const Matrix m(x.data(), 4, 3, MatrixFormat::bf16);
  const Tensor bytes = m.row_range(2, 2).as_bytes();
  EXPECT_EQ(str(bytes), "[2,6] u8");
  EXPECT_EQ(bytes.data, x.data() + 6);
  EXPECT_EQ(bytes.stride, 6);
}

}  // namespace
}  // namespace lacuna::testing
