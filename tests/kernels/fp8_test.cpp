#include <cmath>

#include "tests/kernels/fp8_backend.h"
#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

TEST(Fp8, LinearAgreesWithPyTorch) {
  on_every_backend([](CpuOps& ops) { expect_linear_in_fp8_agrees_with_pytorch(ops); });
}

TEST(Fp8, QuantisesOddSizes) {
  for (const int threads : {1, 3})
    for (const DType type : {DType::f32, DType::bf16}) {
      CpuOps ops(threads);
      expect_quantisation_of_odd_sizes(ops, type);
    }
}

TEST(Fp8, SumsOverNothing) {
  on_every_instruction_set([](CpuOps& ops) { expect_sums_over_nothing(ops); });
}

TEST(Fp8, WhatIsNotFiniteIsKept) {
  CpuOps ops(2);
  expect_not_finite_is_kept(ops);
}

TEST(Fp8, OperationsLeaveTheAmaxOfTheirResults) {
  CpuOps ops(3);
  for (const DType type : {DType::f32, DType::bf16}) expect_amax_of_results(ops, type);
}

/// Scales are powers of two, and every code is a bf16 number: the product in FP8 is that in bf16 of
/// the rounded operands, bit for bit.
TEST(Fp8, IsTheBf16ProductOfWhatTheCodesMean) {
  CpuOps ops(2);
  const DeviceArray x(ops, normal({33, 64}, 1, DType::bf16, 5), DType::bf16),
      w(ops, normal({48, 64}, 2, DType::bf16, 0.02), DType::bf16);
  const QuantisedArray<E4M3> qx(ops, x), qw(ops, w);
  const auto meaning = [&](const QuantisedArray<E4M3>& q) {
    HostArray values(q.codes.tensor().shape);
    const auto codes = q.codes.read_as<E4M3>();
    for (std::int64_t i = 0; i < values.count(); ++i)
      values[i] = to_float(codes[std::size_t(i)]) * q.factor.read()[0];
    return values;
  };
  const DeviceArray x_values(ops, meaning(qx), DType::bf16),
      w_values(ops, meaning(qw), DType::bf16);
  DeviceArray y(ops, {33, 48}, DType::bf16), expected(ops, {33, 48}, DType::bf16);
  ops.multiply_fp8(y, qx.rows(), qw.rows(), GradMode::overwrite);
  ops.linear_forward(expected, x_values, w_values);
  EXPECT_EQ(y.read().values, expected.read().values);
}

/// The relative error of rounding normally distributed numbers to b bits of mantissa. One with 2^e
/// <= |x| < 2^(e+1) has an error spread evenly over 2^(e-b), whose square is 4^(e-b) / 12 in the
/// mean.
double rounding_error(int bits) {
  double sum = 0;
  for (int e = -20; e < 5; ++e)
    sum += std::pow(4, e) * (std::erf(std::ldexp(1, e + 1) / std::sqrt(2)) -
                             std::erf(std::ldexp(1, e) / std::sqrt(2)));
  return std::ldexp(std::sqrt(sum / 12), -bits);
}

/// Of a product with independent errors the squares add up, and sums of independent products keep
/// the ratio.
TEST(Fp8, ErrorOfALinearLayerIsThatOfRoundingItsOperands) {
  CpuOps ops(2);
  const std::int64_t rows = 128, inside = 256, outside = 128;
  const HostArray hx = normal({rows, inside}, 1, DType::bf16),
                  hw = normal({outside, inside}, 2, DType::bf16),
                  hdy = normal({rows, outside}, 3, DType::bf16);
  const DeviceArray x(ops, hx, DType::bf16), w(ops, hw, DType::bf16), dy(ops, hdy, DType::bf16);
  const QuantisedArray<E4M3> qx(ops, x), qw(ops, w);
  const QuantisedArray<E5M2> qdy(ops, dy);
  const auto error = [](const HostArray& a, const HostArray& b) {
    double difference = 0, size = 0;
    for (std::int64_t i = 0; i < a.count(); ++i) {
      difference += std::pow(double(a[i]) - double(b[i]), 2);
      size += std::pow(double(b[i]), 2);
    }
    return std::sqrt(difference / size);
  };
  const double e4m3 = rounding_error(3), e5m2 = rounding_error(2);  // 0.0266, 0.0532
  DeviceArray y(ops, {rows, outside}, DType::f32), dx(ops, {rows, inside}, DType::f32),
      dw(ops, HostArray({outside, inside}), DType::f32);
  HostArray exact_y({rows, outside}), exact_dx({rows, inside}), exact_dw({outside, inside});
  ops.multiply_fp8(y, qx.rows(), qw.rows(), GradMode::overwrite);
  ops.linear_forward(exact_y, hx, hw);
  EXPECT_NEAR(error(y.read(), exact_y), std::hypot(e4m3, e4m3), 0.05 * e4m3);
  ops.multiply_fp8(dx, qdy.rows(), qw.columns(), GradMode::overwrite);
  ops.linear_backward_input(exact_dx, hdy, hw, GradMode::overwrite);
  EXPECT_NEAR(error(dx.read(), exact_dx), std::hypot(e4m3, e5m2), 0.05 * e5m2);
  ops.multiply_fp8(dw, qdy.columns(), qx.columns(), GradMode::accumulate);
  ops.linear_backward_weight(exact_dw, hdy, hx);
  EXPECT_NEAR(error(dw.read(), exact_dw), std::hypot(e4m3, e5m2), 0.05 * e5m2);
}

TEST(Fp8, RefusesWhatProductsDoNotTake) {
  CpuOps ops(1);
  Plan plan;
  const Slot codes = plan.add("codes", {16, 24}, DType::e4m3), factor = plan.add("factor", {1}),
             wide = plan.add("wide", {16, 32}, DType::e5m2), y = plan.add("y", {16, 16});
  Arena a(ops.memory(), plan);
  EXPECT_EQ(
      error_of([&] {
        ops.multiply_fp8(a[y], {a[codes], a[factor]}, {a[codes], a[factor]}, GradMode::overwrite);
      }),
      "multiply_fp8: a is [16,24] e4m3; its columns must be a multiple of 16");
  EXPECT_EQ(
      error_of([&] {
        ops.multiply_fp8(a[y], {a[wide], a[factor]}, {a[wide], a[factor]}, GradMode::overwrite);
      }),
      "multiply_fp8: b is [16,32] e5m2; it must be [16,32] e4m3");
}

}  // namespace
}  // namespace lacuna::testing
