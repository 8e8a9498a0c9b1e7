#include "tests/kernels/gradients.h"

#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

TEST(Gradients, Overwrite) {
  on_every_backend([](CpuOps& ops) {
    for (const DType type : {DType::f32, DType::bf16}) expect_gradients_overwrite(ops, type);
  });
}

TEST(Gradients, SquaresOfManyTensors) {
  on_every_instruction_set([](CpuOps& ops) {
    for (const DType type : {DType::f32, DType::bf16}) expect_squares_of_many(ops, type);
  });
}

TEST(Gradients, SumsAreRoundedByTheirNumbers) {
  on_every_backend([](CpuOps& ops) { expect_gradient_sums(ops); });
}

TEST(Gradients, LogitsOfOtherRanksAreOneColumn) {
  CpuOps ops(1);
  for (const DType type : {DType::f32, DType::bf16}) expect_complete_logits(ops, type);
}

TEST(Gradients, NamesWhatDisagrees) {
  CpuOps ops(1);
  const DeviceArray sum(ops, Shape{4}, DType::bf16), x(ops, Shape{4}, DType::f32),
      total(ops, Shape{1}, DType::f64);
  EXPECT_EQ(error_of([&] {
              ops.add_to_gradient_sums({{x, x}}, GradMode::overwrite, {});
            }),
            "add_to_gradient_sums: sum is [4] f32; it must be [4] bf16");
  EXPECT_EQ(error_of([&] {
              ops.add_to_gradient_sums({{sum, x}}, GradMode::overwrite, {1, 2, 1 << 20});
            }),
            "add_to_gradient_sums: micro_batch is 1048576; it must be below 2^20");
  EXPECT_EQ(error_of([&] {
              ops.add_squares(total, {x, sum}, 1);
            }),
            "add_squares: x is bf16 in one tensor, f32 in the first");
}

// Sums of N micro-batches, each a fifth of the way from one bf16 number to the next: rounded to
// nearest none would be seen; here the mean of many elements is that of f32, within four standard
// deviations. Each addition's rounding is independent: the variance of n of them is at most n / 4
// spacings squared.
TEST(Gradients, SumsAreUnbiased) {
  CpuOps ops(2);
  const std::int64_t n = 20000, micro_batches = 50;
  const double part = 0x1p-7 / 5;
  const DeviceArray sum(ops, HostArray(Shape{n}, 1), DType::bf16),
      x(ops, HostArray(Shape{n}, float(part)), DType::f32);
  for (std::int64_t i = 0; i < micro_batches; ++i)
    ops.add_to_gradient_sums({{sum, x, {}}}, GradMode::accumulate, {5, 9, std::uint64_t(i)});
  double mean = 0;
  for (const float value : sum.read().values) mean += double(value) / double(n);
  const double expected = 1 + double(micro_batches) * double(float(part));
  EXPECT_NEAR(mean, expected, 4 * 0x1p-7 * std::sqrt(double(micro_batches) / 4 / double(n)));
}

}  // namespace
}  // namespace lacuna::testing
