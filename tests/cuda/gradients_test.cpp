#include "tests/kernels/gradients.h"

#include "tests/cuda/support.h"

namespace lacuna::testing {
namespace {

class CudaGradientsTest : public CudaOpsTest {};
INSTANTIATE_TEST_SUITE_P(Cuda, CudaGradientsTest, ::testing::ValuesIn(all_cases()), case_name);

TEST_P(CudaGradientsTest, Overwrite) { expect_gradients_overwrite(device(), type()); }

TEST_P(CudaGradientsTest, SquaresOfManyTensors) { expect_squares_of_many(device(), type()); }

TEST_P(CudaGradientsTest, SumsAreRoundedByTheirNumbers) {
  if (!is_f32()) GTEST_SKIP() << "they are of one type";
  expect_gradient_sums(device());
}

TEST_P(CudaGradientsTest, LogitsOfOtherRanksAreOneColumn) {
  expect_complete_logits(device(), type());
}

}  // namespace
}  // namespace lacuna::testing
