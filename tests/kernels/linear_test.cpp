#include <cmath>

#include "kernels/cpu/blas.h"
#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

TEST(Linear, AgreesWithPyTorch) {
  const Golden golden("kernels_linear");
  on_every_backend([&](CpuOps& ops) {
    Array<float> y({5, 19}, 4), dx({5, 37}), dw({19, 37});
    Array<float> x = copied<float>(golden["x"], 3), dy = copied<float>(golden["dy"], 6);
    ops.linear_forward(y, x, golden["w"]);
    EXPECT_TRUE(is_close(y, golden["y"], 1e-5, 1e-5));
    ops.linear_backward_input(dx, dy, golden["w"], GradMode::overwrite);
    EXPECT_TRUE(is_close(dx, golden["dx"], 1e-5, 1e-5));
    dw.set(0);
    ops.linear_backward_weight(dw, dy, x);
    EXPECT_TRUE(is_close(dw, golden["dw"], 1e-5, 1e-5));
    EXPECT_TRUE(y.guards_hold() && dx.guards_hold() && dw.guards_hold());
  });
}

// From empty to more than one block per thread.
const ProductSizes kLinearSizes[] = {{0, 3, 4},      {1, 1, 1},      {1, 300, 2},
                                     {17, 31, 5},    {257, 1, 9},    {300, 129, 65},
                                     {96, 512, 257}, {200, 600, 33}, {7, 1025, 24}};

/// sum_k a(k) b(k), f64.
template <class A, class B>
double dot(std::int64_t n, A a, B b) {
  double sum = 0;
  for (std::int64_t k = 0; k < n; ++k) sum += double(a(k)) * double(b(k));
  return sum;
}

TEST(Linear, OfOddSizesBothModes) {
  for (const auto [n, in, out] : kLinearSizes) {
    Array<float> x = normal({n, in}, 1, 1, 2), w = normal({out, in}, 2),
                 dy = normal({n, out}, 3, 1, 5);
    Array<double> y_expected({n, out}), dx_expected({n, in}), dw_expected({out, in});
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t o = 0; o < out; ++o)
        y_expected.at(i, o) = dot(
            in, [&](auto k) { return x.at(i, k); }, [&](auto k) { return w.at(o, k); });
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t c = 0; c < in; ++c)
        dx_expected.at(i, c) = dot(
            out, [&](auto k) { return dy.at(i, k); }, [&](auto k) { return w.at(k, c); });
    for (std::int64_t o = 0; o < out; ++o)
      for (std::int64_t c = 0; c < in; ++c)
        dw_expected.at(o, c) =
            2 + dot(
                    n, [&](auto k) { return dy.at(k, o); }, [&](auto k) { return x.at(k, c); });
    for (const int threads : {1, 2, 3, 7}) {
      SCOPED_TRACE(str(n, " rows, ", in, " in, ", out, " out, ", threads, " threads"));
      CpuOps ops(threads);
      // Sums of k terms of order 1 are of order sqrt(k), their rounding errors of sqrt(k) 2^-24
      // times the logarithm or root of the terms that were added one after another.
      const double tolerance = 1e-5 * std::sqrt(double(std::max({n, in, out, std::int64_t{1}})));
      Array<float> y({n, out}, 3), dx({n, in}, 1), dw({out, in});
      ops.linear_forward(y, x, w);
      EXPECT_TRUE(is_close(y, y_expected, 0, tolerance));
      ops.linear_forward(y, x, w, GradMode::accumulate);
      for (std::int64_t i = 0; i < y.count(); ++i) y[i] /= 2;
      EXPECT_TRUE(is_close(y, y_expected, 0, tolerance));
      ops.linear_backward_input(dx, dy, w, GradMode::overwrite);
      ops.linear_backward_input(dx, dy, w, GradMode::accumulate);
      for (std::int64_t i = 0; i < dx.count(); ++i) dx[i] /= 2;
      EXPECT_TRUE(is_close(dx, dx_expected, 0, tolerance));
      dw.set(2);
      ops.linear_backward_weight(dw, dy, x);
      EXPECT_TRUE(is_close(dw, dw_expected, 0, tolerance));
      EXPECT_TRUE(y.guards_hold() && dx.guards_hold() && dw.guards_hold());
    }
  }
}

TEST(Linear, BackwardIsTheGradient) {
  CpuOps ops(1);
  Array<float> x = normal({4, 6}, 1), w = normal({3, 6}, 2), dy = normal({4, 3}, 3);
  Array<float> y({4, 3}), dx({4, 6}), dw({3, 6});
  const auto loss = [&] {
    ops.linear_forward(y, x, w);
    return weighted_sum(y, dy);
  };
  ops.linear_backward_input(dx, dy, w, GradMode::overwrite);
  dw.set(0);
  ops.linear_backward_weight(dw, dy, x);
  expect_gradient("dx", x, dx, loss);
  expect_gradient("dw", w, dw, loss);
}

TEST(Linear, RepeatsToTheLastBit) {
  Array<float> x = normal({200, 300}, 1), w = normal({150, 300}, 2);
  for (const int threads : {1, 2, 5}) {
    Array<float> first({200, 150}), second({200, 150});
    CpuOps(threads).linear_forward(first, x, w);
    CpuOps(threads).linear_forward(second, x, w);
    EXPECT_TRUE(first.same_bits(second)) << threads;
  }
}

TEST(Linear, NamesWhatDisagrees) {
  CpuOps ops(1);
  Array<float> y({4, 3}), x({4, 6}), w({3, 6}), narrow({4, 5}), short_y({3, 3}), gapped({3, 6}, 1);
  Array<std::int32_t> ids({4, 6});
  EXPECT_EQ(error_of([&] { ops.linear_forward(y, narrow, w); }),
            "linear_forward: x is [4,5] f32 but w is [3,6] f32; x must have 6 columns");
  EXPECT_EQ(
      error_of([&] { ops.linear_forward(short_y, x, w); }),
      "linear_forward: y is [3,3] f32 but x is [4,6] f32 and w is [3,6] f32; y must be [4,3]");
  EXPECT_EQ(error_of([&] { ops.linear_forward(y, ids, w); }),
            "linear_forward: x is [4,6] i32; it must be f32 or bf16");
  EXPECT_EQ(error_of([&] { ops.linear_forward(y, x, gapped); }),
            "linear_forward: w is [3,6] f32; it must be a contiguous matrix [out,in]");
  EXPECT_TRUE(contains(
      error_of([&] { ops.linear_backward_input(narrow, y, w, GradMode::overwrite); }), "dx is"));
  EXPECT_TRUE(contains(error_of([&] { ops.linear_backward_weight(w, short_y, x); }), "dy is"));
  Tensor away = x;
  away.place = Place::device;
  EXPECT_EQ(error_of([&] { ops.linear_forward(y, away, w); }),
            "linear_forward: x is on the device; it must be in main memory");
}

TEST(BlockGrid, UsesNoMoreBlocksThanThreadsOrSteps) {
  for (const int threads : {1, 2, 3, 7, 16, 64}) {
    for (const std::int64_t m : {1, 15, 16, 17, 1000}) {
      for (const std::int64_t n : {1, 16, 33, 4096}) {
        const BlockGrid grid = choose_grid(m, n, 512, threads);
        EXPECT_GE(grid.rows, 1);
        EXPECT_GE(grid.cols, 1);
        EXPECT_LE(grid.rows * grid.cols, threads);
        EXPECT_LE(grid.rows, (m + 15) / 16);
        EXPECT_LE(grid.cols, (n + 15) / 16);
      }
    }
  }
}

TEST(BlockGrid, LeavesSmallProductsWhole) {
  const BlockGrid grid = choose_grid(32, 32, 32, 8);
  EXPECT_EQ(grid.rows * grid.cols, 1);
}

TEST(BlockGrid, UsesEveryThreadForLargeProducts) {
  for (const int threads : {2, 4, 6, 8}) {
    const BlockGrid grid = choose_grid(4096, 4096, 512, threads);
    EXPECT_EQ(grid.rows * grid.cols, threads);
  }
}

TEST(Sgemm, OfAnEmptySum) {
  ThreadPool pool(2);
  Array<float> a({3, 1}), b({1, 2}), c({3, 2});  // c starts as NaN
  sgemm(pool, false, false, 3, 2, 0, 1.0f, &a[0], 1, &b[0], 2, 0.0f, &c[0], 2);
  for (std::int64_t i = 0; i < 6; ++i) EXPECT_EQ(c[i], 0.0f);
  c.set(3);
  sgemm(pool, false, false, 3, 2, 0, 1.0f, &a[0], 1, &b[0], 2, 2.0f, &c[0], 2);
  for (std::int64_t i = 0; i < 6; ++i) EXPECT_EQ(c[i], 6.0f);
}

TEST(Sgemm, ScalesAndTransposesBoth) {
  Array<float> a = normal({5, 7}, 1), b = normal({6, 5}, 2), c = normal({7, 6}, 3);
  const Array<float> before = c;
  ThreadPool pool(2);
  sgemm(pool, true, true, 7, 6, 5, 0.5f, &a[0], 7, &b[0], 5, 2.0f, &c[0], 6);
  for (std::int64_t i = 0; i < 7; ++i)
    for (std::int64_t j = 0; j < 6; ++j)
      EXPECT_NEAR(c.at(i, j),
                  2 * before.at(i, j) + 0.5 * dot(
                                                  5, [&](auto k) { return a.at(k, i); },
                                                  [&](auto k) { return b.at(j, k); }),
                  1e-5);
}

}  // namespace
}  // namespace lacuna::testing
