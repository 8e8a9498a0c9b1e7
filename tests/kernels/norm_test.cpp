#include <cmath>
#include <limits>

#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

TEST(AddSquares, AgreesWithPyTorch) {
  const Golden golden("kernels_norm");
  on_every_backend([&](CpuOps& ops) {
    List<double> sum{0.0};
    ops.add_squares(sum, {golden["x"]}, 1);
    EXPECT_TRUE(is_close(sum, golden["sum"], 1e-14, 0));
  });
}

// Pieces of 32768 are added in order, whatever the number of threads.
TEST(AddSquares, IsTheSameForAnyThreads) {
  for (const std::int64_t n : {0, 1, 7, 32767, 32768, 32769, 200001}) {
    Array<float> x = normal({n}, 1);
    double expected = 0;
    for (std::int64_t i = 0; i < n; ++i) expected += double(x[i]) * double(x[i]);
    for (const SimdKernels* kernels : instruction_sets()) {
      List<double> first{0.0};
      CpuOps(1, *kernels).add_squares(first, {x}, 1);
      EXPECT_NEAR(first[0], expected, 1e-12 * expected);
      for (const int threads : {2, 3, 7}) {
        List<double> sum{0.0};
        CpuOps(threads, *kernels).add_squares(sum, {x}, 1);
        EXPECT_TRUE(sum.same_bits(first)) << n << " numbers, " << threads << " threads";
      }
    }
  }
}

TEST(AddSquares, AddsThemTimesTheFactor) {
  on_every_instruction_set([](CpuOps& ops) {
    List<float> x{3.0f, 4.0f};
    List<double> sum{100.0};
    ops.add_squares(sum, {x}, 2);
    EXPECT_EQ(sum[0], 150);
    ops.add_squares(sum, {x}, 1);
    EXPECT_EQ(sum[0], 175);
  });
}

TEST(AddSquares, NeitherOverflowsNorVanishes) {
  on_every_instruction_set([](CpuOps& ops) {
    Array<float> large(Shape{1000}), small(Shape{1000});
    large.set(3e38f);
    small.set(1e-38f);
    List<double> sum{0.0};
    ops.add_squares(sum, {large}, 1);
    EXPECT_NEAR(sum[0], 1000 * double(3e38f) * double(3e38f), 1e68);
    sum[0] = 0;
    ops.add_squares(sum, {small}, 1);
    EXPECT_NEAR(sum[0], 1000 * double(1e-38f) * double(1e-38f), 1e-85);
    large[77] = NAN;
    ops.add_squares(sum, {large}, 1);
    EXPECT_TRUE(std::isnan(sum[0]));
  });
}

float clip(double sum, float max_norm) {
  CpuOps ops(1);
  List<double> total{sum};
  Array<float> scale(Shape{1});
  ops.clip_scale(scale, total, max_norm);
  EXPECT_TRUE(scale.guards_hold());
  return scale[0];
}

TEST(ClipScale, ShortensLongGradientsOnly) {
  EXPECT_EQ(clip(4.0, 1), 0.5f);
  EXPECT_EQ(clip(0.25, 1), 1.0f);
  EXPECT_EQ(clip(1.0, 1), 1.0f);
  EXPECT_EQ(clip(0.0, 1), 1.0f);
  EXPECT_EQ(clip(1e60, 2), float(2e-30));
}

TEST(ClipScale, ZeroMeansNoClipping) { EXPECT_EQ(clip(1e10, 0), 1.0f); }

TEST(ClipScale, OfWhatIsNotFiniteIsNotANumber) {
  const double inf = std::numeric_limits<double>::infinity();
  for (const float max_norm : {0.0f, 1.0f}) {
    EXPECT_TRUE(std::isnan(clip(inf, max_norm)));
    EXPECT_TRUE(std::isnan(clip(NAN, max_norm)));
  }
}

TEST(Norm, NamesWhatDisagrees) {
  CpuOps ops(1);
  Array<float> x({2, 3}), gapped({2, 3}, 1), sum32(Shape{1});
  Array<double> sum(Shape{1}), two(Shape{2});
  EXPECT_EQ(error_of([&] { ops.add_squares(sum32, {x}, 1); }),
            "add_squares: sum is [1] f32; it must be [1] f64");
  EXPECT_TRUE(contains(error_of([&] { ops.add_squares(sum, {gapped}, 1); }), "contiguous"));
  EXPECT_EQ(error_of([&] { ops.clip_scale(sum32, two, 1); }),
            "clip_scale: sum is [2] f64; it must be [1] f64");
}

}  // namespace
}  // namespace lacuna::testing
