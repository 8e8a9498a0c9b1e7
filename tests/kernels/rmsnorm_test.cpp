#include <cmath>

#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

TEST(RmsNorm, AgreesWithPyTorch) {
  const Golden golden("kernels_rmsnorm");
  const float eps = std::stof(golden.metadata("eps"));
  on_every_backend([&](CpuOps& ops) {
    Array<float> y({7, 37}), rstd(Shape{7}), dx({7, 37}), dw(Shape{37});
    ops.rmsnorm_forward(y, rstd, golden["x"], golden["w"], eps);
    EXPECT_TRUE(is_close(y, golden["y"], 1e-6, 1e-6));
    EXPECT_TRUE(is_close(rstd, golden["rstd"], 1e-6, 0));
    dw.set(0);
    ops.rmsnorm_backward(dx, dw, golden["dy"], golden["x"], rstd, golden["w"], GradMode::overwrite);
    // rstd is up to 316 in the row where eps matters, so the errors are relative to that.
    EXPECT_TRUE(is_close(dx, golden["dx"], 1e-5, 1e-6 * 316));
    EXPECT_TRUE(is_close(dw, golden["dw"], 1e-5, 1e-5));
    EXPECT_TRUE(y.guards_hold() && rstd.guards_hold() && dx.guards_hold() && dw.guards_hold());
  });
}

TEST(RmsNorm, OfOddSizes) {
  for (const std::int64_t rows : {0, 1, 5, 70, 300}) {
    for (const std::int64_t cols : {1, 3, 16, 31, 257}) {
      SCOPED_TRACE(str(rows, " x ", cols));
      Array<float> x = normal({rows, cols}, 1), w = normal({cols}, 2);
      Array<double> expected({rows, cols});
      for (std::int64_t i = 0; i < rows; ++i) {
        double squares = 0;
        for (std::int64_t c = 0; c < cols; ++c) squares += double(x.at(i, c)) * x.at(i, c);
        for (std::int64_t c = 0; c < cols; ++c)
          expected.at(i, c) = x.at(i, c) * w[c] / std::sqrt(squares / double(cols) + 1e-5);
      }
      Array<float> first({rows, cols});
      on_every_backend([&](CpuOps& ops) {
        Array<float> y({rows, cols}), rstd(Shape{rows});
        ops.rmsnorm_forward(y, rstd, x, w, 1e-5f);
        EXPECT_TRUE(is_close(y, expected, 1e-6, 1e-6));
        Array<float> in_place = x;
        ops.rmsnorm_forward(in_place, rstd, in_place, w, 1e-5f);
        EXPECT_TRUE(in_place.same_bits(y));
        EXPECT_TRUE(y.guards_hold() && rstd.guards_hold());
      });
    }
  }
}

TEST(RmsNorm, AddsFirst) {
  on_every_backend([](CpuOps& ops) {
    Array<float> x = normal({33, 29}, 1), delta = normal({33, 29}, 2), w = normal({29}, 3);
    Array<float> sum({33, 29}), y({33, 29}), rstd(Shape{33}), expected_y({33, 29}),
        expected_rstd(Shape{33}), expected_sum = x;
    ops.add(expected_sum, delta);
    ops.rmsnorm_forward(expected_y, expected_rstd, expected_sum, w, 1e-5f);
    ops.add_rmsnorm_forward(sum, y, rstd, x, delta, w, 1e-5f);
    EXPECT_TRUE(sum.same_bits(expected_sum));
    EXPECT_TRUE(is_close(y, expected_y, 1e-6, 1e-6));
    EXPECT_TRUE(is_close(rstd, expected_rstd, 1e-6, 0));
    // sum may be x, y may be delta.
    ops.add_rmsnorm_forward(x, delta, rstd, x, delta, w, 1e-5f);
    EXPECT_TRUE(x.same_bits(sum));
    EXPECT_TRUE(delta.same_bits(y));
    EXPECT_TRUE(x.guards_hold() && delta.guards_hold());
  });
}

TEST(RmsNorm, BackwardIsTheGradient) {
  on_every_instruction_set([](CpuOps& ops) {
    Array<float> x = normal({3, 5}, 1), w = normal({5}, 2), dy = normal({3, 5}, 3);
    Array<float> y({3, 5}), rstd(Shape{3}), dx({3, 5}), dw(Shape{5});
    const auto loss = [&] {
      ops.rmsnorm_forward(y, rstd, x, w, 1e-5f);
      return weighted_sum(y, dy);
    };
    loss();
    dw.set(0);
    ops.rmsnorm_backward(dx, dw, dy, x, rstd, w, GradMode::overwrite);
    expect_gradient("dx", x, dx, loss);
    expect_gradient("dw", w, dw, loss);
  });
}

TEST(RmsNorm, BackwardAddsWhereAsked) {
  on_every_backend([](CpuOps& ops) {
    Array<float> x = normal({301, 83}, 1), w = normal({83}, 2), dy = normal({301, 83}, 3);
    Array<float> y({301, 83}), rstd(Shape{301}), dx({301, 83}), dw(Shape{83});
    ops.rmsnorm_forward(y, rstd, x, w, 1e-5f);
    dw.set(0);
    ops.rmsnorm_backward(dx, dw, dy, x, rstd, w, GradMode::overwrite);
    const Array<float> before = normal({301, 83}, 4);
    Array<float> more = before, more_dw(Shape{83});
    more_dw.set(0.5f);
    ops.rmsnorm_backward(more, more_dw, dy, x, rstd, w, GradMode::accumulate);
    for (std::int64_t i = 0; i < dx.count(); ++i)
      ASSERT_NEAR(more[i], before[i] + dx[i], 1e-6 * (1 + std::abs(before[i])));
    for (std::int64_t c = 0; c < 83; ++c) ASSERT_NEAR(more_dw[c], 0.5 + dw[c], 1e-5);
    // dw against f64.
    for (std::int64_t c = 0; c < 83; ++c) {
      double sum = 0;
      for (std::int64_t n = 0; n < 301; ++n)
        sum += double(dy.at(n, c)) * double(x.at(n, c)) * double(rstd[n]);
      ASSERT_NEAR(dw[c], sum, 1e-4);  // 301 terms of order 1
    }
    Array<float> again({301, 83}), again_dw(Shape{83});
    again_dw.set(0);
    ops.rmsnorm_backward(again, again_dw, dy, x, rstd, w, GradMode::overwrite);
    EXPECT_TRUE(again.same_bits(dx) && again_dw.same_bits(dw)) << "differs from run to run";
  });
}

TEST(RmsNorm, WithoutAGradientOfItsWeights) {
  on_every_backend([](CpuOps& ops) {
    Array<float> x = normal({70, 31}, 1), w = normal({31}, 2), dy = normal({70, 31}, 3);
    Array<float> y({70, 31}), rstd(Shape{70}), dx({70, 31}), alone({70, 31}), dw(Shape{31});
    ops.rmsnorm_forward(y, rstd, x, w, 1e-5f);
    dw.set(0);
    ops.rmsnorm_backward(dx, dw, dy, x, rstd, w, GradMode::overwrite);
    ops.rmsnorm_backward(alone, Tensor(), dy, x, rstd, w, GradMode::overwrite);
    EXPECT_TRUE(alone.same_bits(dx));
  });
}

TEST(RmsNorm, OfZerosIsZero) {
  on_every_instruction_set([](CpuOps& ops) {
    Array<float> x({2, 9}), w = normal({9}, 1), y({2, 9}), rstd(Shape{2});
    x.set(0);
    ops.rmsnorm_forward(y, rstd, x, w, 1e-5f);
    for (std::int64_t i = 0; i < y.count(); ++i) EXPECT_EQ(y[i], 0.0f);
    EXPECT_NEAR(rstd[0], 1 / std::sqrt(1e-5), 1e-3);
  });
}

TEST(RmsNorm, NamesWhatDisagrees) {
  CpuOps ops(1);
  Array<float> x({4, 5}), y({4, 5}), w(Shape{4}), w5(Shape{5}), rstd(Shape{3}), rstd4(Shape{4}),
      gapped({4, 5}, 2);
  EXPECT_EQ(error_of([&] { ops.rmsnorm_forward(y, rstd4, x, w, 0); }),
            "rmsnorm_forward: w is [4] f32; it must be [5] f32");
  EXPECT_EQ(error_of([&] { ops.rmsnorm_forward(y, rstd, x, w5, 0); }),
            "rmsnorm_forward: rstd is [3] f32; it must be [4] f32");
  EXPECT_EQ(error_of([&] { ops.rmsnorm_forward(y, rstd4, gapped, w5, 0); }),
            "rmsnorm_forward: x is [4,5] f32 with 7 elements between rows; it must be contiguous");
  EXPECT_TRUE(contains(error_of([&] { ops.add_rmsnorm_forward(x, y, rstd4, x, w5, w5, 0); }),
                       "delta is [5] f32"));
  EXPECT_TRUE(
      contains(error_of([&] { ops.rmsnorm_backward(x, w, y, x, rstd4, w5, GradMode::overwrite); }),
               "rmsnorm_backward: dw is [4] f32; it must be [5] f32"));
}

}  // namespace
}  // namespace lacuna::testing
