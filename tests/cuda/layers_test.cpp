#include <algorithm>
#include <cmath>

#include "core/philox.h"
#include "kernels/backend.h"
#include "tests/cuda/support.h"

namespace lacuna::testing {
namespace {

using CudaLayersTest = CudaOpsTest;
INSTANTIATE_TEST_SUITE_P(Cuda, CudaLayersTest, ::testing::ValuesIn(all_cases()), case_name);

struct Size {
  std::int64_t rows, cols;
};
// Whole packs and not, one thread's worth and many, more than a block keeps in registers.
constexpr Size kSizes[] = {{1, 1}, {3, 5}, {5, 64}, {19, 100}, {2, 1032}, {3, 9000}};

/// f32 sums of n terms of size up to `largest` in another order: n 2^-24 of their sum.
double sum_error(std::int64_t n, double largest) { return 0x1p-24 * double(n) * largest; }

double largest(const HostArray& x) {
  double most = 0;
  for (const float v : x.values) most = std::max(most, std::fabs(double(v)));
  return most;
}

TEST_P(CudaLayersTest, EmbeddingForward) {
  for (const DType table : {DType::f32, DType::bf16}) {
    const HostArray w = normal({11, 40}, 1, table);
    const std::vector<std::int32_t> ids = {10, 0, 3, 3, 7};
    DeviceArray dw(device(), w, table), y(device(), {5, 40}, type()), dids(device(), {5}, ids);
    device().embedding_forward(y, dids, dw);
    HostArray expected({5, 40});
    for (std::int64_t i = 0; i < 200; ++i) expected[i] = w[ids[std::size_t(i / 40)] * 40 + i % 40];
    EXPECT_EQ(y.read().values, rounded(expected, type()).values);
    EXPECT_TRUE(y.guards_hold());
  }
}

/// One id on half of the rows, as the mask token is, others rare, some on the edges of runs.
TEST_P(CudaLayersTest, EmbeddingBackward) {
  for (const std::int64_t rows : {1, 64, 65, 500})
    for (const std::int64_t cols : {24, 5}) {
      const std::int64_t vocab = 37;
      std::vector<std::int32_t> ids = integers(rows, vocab, 2);
      for (std::int64_t i = 0; i < rows; i += 2) ids[std::size_t(i)] = 20;
      const HostArray dy = normal({rows, cols}, 3, type()), w = normal({vocab, cols}, 4, type());
      DeviceArray ddy(device(), dy, type()), dids(device(), {rows}, ids);
      DeviceArray dw(device(), w, type()), again(device(), w, type());
      device().embedding_backward(dw, ddy, dids, GradMode::accumulate);
      HostArray expected = w;
      host.embedding_backward(expected, dy, Tensor(ids.data(), {rows}));
      EXPECT_TRUE(is_close(dw.read(), expected, rounding(), sum_error(rows, 5)));
      EXPECT_TRUE(dw.guards_hold());
      device().embedding_backward(again, ddy, dids, GradMode::accumulate);
      EXPECT_EQ(again.read().values, dw.read().values);
    }
}

TEST_P(CudaLayersTest, EmbeddingIdsOutOfRange) {
  std::vector<std::int32_t> ids = integers(150, 6, 2);
  ids[3] = -1;
  ids[70] = ids[71] = 6;
  const HostArray dy = normal({150, 8}, 3, type());
  DeviceArray ddy(device(), dy, type()), dids(device(), {150}, ids);
  DeviceArray dw(device(), HostArray({6, 8}), DType::f32);
  device().embedding_backward(dw, ddy, dids, GradMode::accumulate);
  HostArray expected({6, 8});
  for (std::int64_t i = 0; i < 150; ++i) {
    const std::int32_t id = ids[std::size_t(i)];
    for (std::int64_t c = 0; id >= 0 && id < 6 && c < 8; ++c) expected[id * 8 + c] += dy[i * 8 + c];
  }
  EXPECT_TRUE(is_close(dw.read(), expected, 1e-5, sum_error(150, 5)));
  EXPECT_TRUE(dw.guards_hold());
}

TEST_P(CudaLayersTest, RmsNormForward) {
  for (const auto [rows, cols] : kSizes)
    for (const DType weights : {DType::f32, type()}) {
      const HostArray x = normal({rows, cols}, 1, type()), w = normal({cols}, 2, weights);
      DeviceArray dx(device(), x, type()), dw(device(), w, weights);
      DeviceArray y(device(), {rows, cols}, type()), rstd(device(), {rows}, DType::f32);
      device().rmsnorm_forward(y, rstd, dx, dw, 1e-5f);
      HostArray expected({rows, cols}), expected_rstd({rows});
      host.rmsnorm_forward(expected, expected_rstd, x, w, 1e-5f);
      // The mean's error is that of a sum of positive terms: relative.
      EXPECT_TRUE(is_close(rstd.read(), expected_rstd, 1e-6 + 0x1p-24 * 64, 0));
      EXPECT_TRUE(is_close(y.read(), expected, rounding(), 0));
      EXPECT_TRUE(y.guards_hold());
      EXPECT_TRUE(rstd.guards_hold());
      device().rmsnorm_forward(dx, rstd, dx, dw, 1e-5f);  // in place
      EXPECT_EQ(dx.read().values, y.read().values);
    }
}

TEST_P(CudaLayersTest, AddRmsNormForward) {
  for (const auto [rows, cols] : kSizes) {
    const HostArray x = normal({rows, cols}, 1, type()), delta = normal({rows, cols}, 2, type());
    const HostArray w = normal({cols}, 3, type());
    DeviceArray dx(device(), x, type()), ddelta(device(), delta, type()), dw(device(), w, type());
    DeviceArray sum(device(), {rows, cols}, type()), y(device(), {rows, cols}, type());
    DeviceArray rstd(device(), {rows}, DType::f32);
    device().add_rmsnorm_forward(sum, y, rstd, dx, ddelta, dw, 1e-5f);
    HostArray expected_sum = x, expected({rows, cols}), expected_rstd({rows});
    for (std::int64_t i = 0; i < x.count(); ++i) expected_sum[i] += delta[i];
    expected_sum = rounded(expected_sum, type());  // what is normalised is the sum as stored
    host.rmsnorm_forward(expected, expected_rstd, expected_sum, w, 1e-5f);
    EXPECT_EQ(sum.read().values, expected_sum.values);
    EXPECT_TRUE(is_close(rstd.read(), expected_rstd, 1e-6 + 0x1p-24 * 64, 0));
    EXPECT_TRUE(is_close(y.read(), expected, rounding(), 0));
    EXPECT_TRUE(sum.guards_hold() && y.guards_hold());
    device().add_rmsnorm_forward(dx, ddelta, rstd, dx, ddelta, dw, 1e-5f);  // in place
    EXPECT_EQ(dx.read().values, sum.read().values);
    EXPECT_EQ(ddelta.read().values, y.read().values);
  }
}

TEST_P(CudaLayersTest, RmsNormBackward) {
  for (const auto [rows, cols] : kSizes)
    for (const GradMode mode : {GradMode::overwrite, GradMode::accumulate})
      for (const DType weights : {DType::f32, type()}) {
        const HostArray x = normal({rows, cols}, 1, type()), dy = normal({rows, cols}, 2, type());
        const HostArray w = normal({cols}, 3, weights), before = normal({rows, cols}, 4, type());
        const HostArray dw_before = normal({cols}, 5, weights);
        HostArray y({rows, cols}), rstd({rows}), dx = before, dw = dw_before;
        host.rmsnorm_forward(y, rstd, x, w, 1e-5f);
        host.rmsnorm_backward(dx, dw, dy, x, rstd, w, mode);
        DeviceArray d_x(device(), x, type()), d_dy(device(), dy, type());
        DeviceArray d_w(device(), w, weights), d_rstd(device(), rstd, DType::f32);
        DeviceArray d_dx(device(), before, type()), d_dw(device(), dw_before, weights);
        device().rmsnorm_backward(d_dx, d_dw, d_dy, d_x, d_rstd, d_w, mode, GradMode::accumulate);
        // Terms are products of three or four normal numbers: below 100. The mean over a row and
        // the sum over rows are reordered.
        EXPECT_TRUE(is_close(d_dx.read(), dx, rounding(), 0x1p-24 * 64 * 100));
        EXPECT_TRUE(is_close(d_dw.read(), dw, one_rounding(weights), sum_error(rows, 100)));
        EXPECT_TRUE(d_dx.guards_hold() && d_dw.guards_hold());
        DeviceArray alone(device(), before, type());  // the weights are not trained
        device().rmsnorm_backward(alone, Tensor(), d_dy, d_x, d_rstd, d_w, mode,
                                  GradMode::accumulate);
        EXPECT_EQ(alone.read().values, d_dx.read().values);
      }
}

TEST_P(CudaLayersTest, Rope) {
  for (const std::int64_t half : {1, 3, 32})
    for (const std::int64_t gap : {0, 64}) {
      const std::int64_t rows = 7, heads = 3, limit = 50, cols = heads * 2 * half;
      const HostArray x = normal({rows, cols}, 1, type());
      HostArray table({limit, 2 * half});
      for (std::int64_t p = 0; p < limit; ++p)
        for (std::int64_t j = 0; j < half; ++j) {
          const double angle = double(p) * std::pow(10000.0, -double(j) / double(half));
          table[p * 2 * half + j] = float(std::cos(angle));
          table[p * 2 * half + half + j] = float(std::sin(angle));
        }
      std::vector<std::int32_t> positions = integers(rows, limit, 2);
      DeviceArray dx(device(), x, type(), {gap, 0}), dtable(device(), table, DType::f32);
      DeviceArray dpositions(device(), {rows}, positions);
      for (const Rotation direction : {Rotation::forward, Rotation::inverse}) {
        HostArray expected = dx.read();
        host.rope(expected, Tensor(positions.data(), {rows}), table, direction);
        device().rope(dx, dpositions, dtable, direction);
        // A result may be small beside the two products it is the difference of, each below 5.
        EXPECT_TRUE(is_close(dx.read(), expected, rounding(), 5 * 0x1p-22));
        EXPECT_TRUE(dx.guards_hold());
      }
      EXPECT_TRUE(is_close(dx.read(), x, 2 * rounding(), 10 * rounding()));  // there and back
    }
}

TEST_P(CudaLayersTest, RopePositionsOutOfRangeGiveNan) {
  const std::vector<std::int32_t> positions = {-1, 0, 2};
  DeviceArray x(device(), HostArray({3, 2}, 1), type());
  DeviceArray table(device(), HostArray({2, 2}, 0.5f), DType::f32);
  DeviceArray dpositions(device(), {3}, positions);
  device().rope(x, dpositions, table, Rotation::forward);
  const HostArray y = x.read();
  EXPECT_TRUE(std::isnan(y[0]) && std::isnan(y[5]));
  EXPECT_EQ(y[2], 0.0f);
}

TEST_P(CudaLayersTest, SwiGlu) {
  for (const auto [rows, cols] : kSizes) {
    const HostArray gate_up = normal({rows, 2 * cols}, 1, type(), 3);
    const HostArray dy = normal({rows, cols}, 2, type());
    DeviceArray dgate_up(device(), gate_up, type()), ddy(device(), dy, type());
    DeviceArray y(device(), {rows, cols}, type()), y2(device(), {rows, cols}, type());
    DeviceArray gradient(device(), {rows, 2 * cols}, type());
    HostArray expected({rows, cols}), expected_gradient({rows, 2 * cols});
    device().swiglu_forward(y, dgate_up);
    host.swiglu_forward(expected, gate_up);
    EXPECT_TRUE(is_close(y.read(), expected, rounding(), 1e-30));
    device().swiglu_backward(gradient, y2, ddy, dgate_up);
    host.swiglu_backward(expected_gradient, expected, dy, gate_up);
    EXPECT_EQ(y2.read().values, y.read().values);
    // 1 + gate (1 - s) passes through zero: an error relative to gate, at most 15.
    EXPECT_TRUE(is_close(gradient.read(), expected_gradient, rounding(), 1e-4));
    EXPECT_TRUE(y.guards_hold() && y2.guards_hold() && gradient.guards_hold());
    device().swiglu_backward(dgate_up, ddy, ddy, dgate_up);  // in place
    EXPECT_EQ(dgate_up.read().values, gradient.read().values);
    EXPECT_EQ(ddy.read().values, y.read().values);
  }
}

TEST_P(CudaLayersTest, Linear) {
  struct Case {
    std::int64_t n, in, out, gap;
  };
  for (const auto [n, in, out, gap] :
       {Case{1, 1, 1, 0}, {5, 7, 3, 0}, {33, 64, 40, 8}, {9, 16, 24, 3}})
    for (const GradMode mode : {GradMode::overwrite, GradMode::accumulate})
      for (const DType wide : {DType::f32, type()}) {
        const HostArray x = normal({n, in}, 1, type()), w = normal({out, in}, 2, type());
        const HostArray dy = normal({n, out}, 3, type());
        HostArray y = normal({n, out}, 4, wide), dx = normal({n, in}, 5, type());
        HostArray dw = normal({out, in}, 6, wide);
        DeviceArray d_x(device(), x, type(), {gap, 0}), d_w(device(), w, type());
        DeviceArray d_dy(device(), dy, type(), {gap, 0}), d_y(device(), y, wide, {gap, 0});
        DeviceArray d_dx(device(), dx, type(), {gap, 0}), d_dw(device(), dw, wide);
        device().linear_forward(d_y, d_x, d_w, mode);
        device().linear_backward_input(d_dx, d_dy, d_w, mode);
        device().linear_backward_weight(d_dw, d_dy, d_x, GradMode::accumulate);
        host.linear_forward(y, x, w, mode);
        host.linear_backward_input(dx, dy, w, mode);
        host.linear_backward_weight(dw, dy, x);
        // cuBLASLt may round a product before it adds it to what was there.
        HostArray y_product({n, out}), dx_product({n, in}), dw_product({out, in});
        host.linear_forward(y_product, x, w, GradMode::overwrite);
        host.linear_backward_input(dx_product, dy, w, GradMode::overwrite);
        host.linear_backward_weight(dw_product, dy, x);
        const bool adds = mode == GradMode::accumulate;
        const auto error = [](bool added, const HostArray& product, DType type,
                              std::int64_t terms) {
          // Products of two normal numbers, below 20.
          return sum_error(terms, 20) + (added ? one_rounding(type) * largest(product) : 0.0);
        };
        EXPECT_TRUE(is_close(d_y.read(), y, one_rounding(wide), error(adds, y_product, wide, in)));
        EXPECT_TRUE(is_close(d_dx.read(), dx, rounding(), error(adds, dx_product, type(), out)));
        EXPECT_TRUE(
            is_close(d_dw.read(), dw, one_rounding(wide), error(true, dw_product, wide, n)));
        EXPECT_TRUE(d_y.guards_hold() && d_dx.guards_hold() && d_dw.guards_hold());
      }
}

TEST_P(CudaLayersTest, LinearOfNoRows) {
  DeviceArray x(device(), Shape{0, 4}, type()), y(device(), Shape{0, 2}, type());
  DeviceArray w(device(), HostArray({2, 4}, 7), type());
  device().linear_forward(y, x, w, GradMode::overwrite);
  device().linear_backward_input(x, y, w, GradMode::overwrite);
  device().linear_backward_weight(w, y, x, GradMode::accumulate);
  EXPECT_EQ(w.read().values, std::vector<float>(8, 7));
  EXPECT_TRUE(y.guards_hold() && x.guards_hold());
}

TEST_P(CudaLayersTest, Errors) {
  DeviceArray x(device(), {2, 4}, type()), w(device(), {5}, type()), ids(device(), {2}, DType::i32);
  DeviceArray rstd(device(), {2}, DType::f32);
  HostArray on_host({2, 4});
  EXPECT_TRUE(contains(error_of([&] { device().rmsnorm_forward(x, rstd, x, w, 1e-5f); }),
                       str("rmsnorm_forward: w is [5] ", type(), "; it must be [4] ", type())));
  EXPECT_TRUE(contains(error_of([&] { device().fill(on_host, 0); }),
                       "fill: x is in main memory; it must be on the device"));
  EXPECT_TRUE(contains(error_of([&] { device().fill(ids, 0); }),
                       "fill: x is [2] i32; it must be f32 or bf16"));
  EXPECT_TRUE(contains(error_of([&] { device().linear_forward(x, x, w, GradMode::overwrite); }),
                       "linear_forward: w is [5]"));
  EXPECT_TRUE(contains(error_of([&] { device().copy(on_host, ids); }), "copy: dst is [2,4] f32"));
  EXPECT_TRUE(contains(error_of([&] { device().memory().allocate(std::int64_t{1} << 60); }),
                       "cannot have"));
  Plan plan;
  plan.add("weights/too_much", {std::int64_t{1} << 58});
  EXPECT_TRUE(contains(error_of([&] { Arena(device().memory(), plan); }), "weights"));
}

TEST(Backend, IsChosenByName) {
  EXPECT_TRUE(contains(make_ops("cpu", {.threads = 1})->description(), "cpu, 1 thread"));
  EXPECT_TRUE(contains(error_of<UsageError>([] { make_ops("gpu"); }),
                       "there is no device \"gpu\"; it must be cpu, cuda or cuda-emulated"));
#if defined(LACUNA_CUDA)
  const char* missing = "cuda-emulated";
#else
  const char* missing = "cuda";
  EXPECT_EQ(make_ops("cuda-emulated", {.hopper_attention = false})->description(), "cuda-emulated");
  EXPECT_TRUE(
      contains(error_of([] { make_ops("cuda-emulated", {.index = 3}); }), "there is no device 3"));
#endif
  EXPECT_TRUE(contains(error_of<UsageError>([&] { make_ops(missing); }), "is not in this build; "));
}

}  // namespace
}  // namespace lacuna::testing
