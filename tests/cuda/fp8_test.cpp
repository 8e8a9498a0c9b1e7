#include "tests/cuda/support.h"
#include "tests/kernels/fp8_backend.h"

namespace lacuna::testing {
namespace {

class CudaFp8Test : public CudaOpsTest {
 protected:
  void SetUp() override {
    CudaOpsTest::SetUp();
    if (!IsSkipped() && !device().has_fp8()) GTEST_SKIP() << "a GPU before sm_89";
  }
};
INSTANTIATE_TEST_SUITE_P(Cuda, CudaFp8Test, ::testing::ValuesIn(all_cases()), case_name);

TEST_P(CudaFp8Test, QuantisesOddSizes) { expect_quantisation_of_odd_sizes(device(), type()); }
TEST_P(CudaFp8Test, OperationsLeaveTheAmaxOfTheirResults) {
  expect_amax_of_results(device(), type());
}

using CudaFp8ProductTest = CudaFp8Test;
INSTANTIATE_TEST_SUITE_P(Cuda, CudaFp8ProductTest, ::testing::ValuesIn(bf16_cases()), case_name);

TEST_P(CudaFp8ProductTest, LinearAgreesWithPyTorch) {
  expect_linear_in_fp8_agrees_with_pytorch(device());
}
TEST_P(CudaFp8ProductTest, SumsOverNothing) { expect_sums_over_nothing(device()); }
TEST_P(CudaFp8ProductTest, WhatIsNotFiniteIsKept) { expect_not_finite_is_kept(device()); }

}  // namespace
}  // namespace lacuna::testing
