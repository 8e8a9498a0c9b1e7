#include <limits>

#include "tests/cuda/support.h"

namespace lacuna::testing {
namespace {

using CudaExpertsTest = CudaOpsTest;
INSTANTIATE_TEST_SUITE_P(Cuda, CudaExpertsTest, ::testing::ValuesIn(all_cases()), case_name);

/// Both backends' choices for the same logits: equal, and their weights within a few units in the
/// last place.
void expect_same_choices(CudaOps& device, CpuOps& host, const HostArray& logits, DType type,
                         std::int64_t k) {
  const std::int64_t rows = logits.shape[0], experts = logits.shape[1];
  for (const bool normalise : {false, true}) {
    const auto routed = [&](Ops& ops, DeviceArray& offsets, DeviceArray& of, DeviceArray& weights) {
      const DeviceArray x(ops, logits, type);
      ops.route_rows({offsets, of, weights}, x, normalise);
    };
    DeviceArray here_offsets(host, {experts + 1}, DType::i32),
        here_rows(host, {rows * k}, DType::i32), here_weights(host, {rows * k}, DType::f32);
    DeviceArray there_offsets(device, {experts + 1}, DType::i32),
        there_rows(device, {rows * k}, DType::i32), there_weights(device, {rows * k}, DType::f32);
    routed(host, here_offsets, here_rows, here_weights);
    routed(device, there_offsets, there_rows, there_weights);
    EXPECT_EQ(there_offsets.read_as<std::int32_t>(), here_offsets.read_as<std::int32_t>());
    EXPECT_EQ(there_rows.read_as<std::int32_t>(), here_rows.read_as<std::int32_t>());
    EXPECT_TRUE(is_close(there_weights.read(), here_weights.read(), 1e-5, 1e-9));
    EXPECT_TRUE(there_offsets.guards_hold() && there_rows.guards_hold() &&
                there_weights.guards_hold());
  }
}

TEST_P(CudaExpertsTest, RoutesRowsAsTheHost) {
  for (const std::int64_t experts : {1, 5, 64, 70})
    for (const std::int64_t k : {1, 3, 64})
      if (k <= experts)
        expect_same_choices(device(), host, normal({21, experts}, 7, type(), 2), type(), k);
}

TEST_P(CudaExpertsTest, TiesAndWhatIsNoNumber) {
  HostArray logits({6, 40});
  for (std::int64_t e = 0; e < 40; ++e) {
    logits[e] = 1;                         // all equal
    logits[40 + e] = e % 3 == 0 ? 2 : -1;  // some
    logits[80 + e] = e == 33 ? NAN : 0;
    logits[120 + e] = e == 7 ? std::numeric_limits<float>::infinity() : 0;
    logits[160 + e] = -std::numeric_limits<float>::infinity();
    logits[200 + e] = float(e);
  }
  for (const std::int64_t k : {1, 8, 40}) expect_same_choices(device(), host, logits, type(), k);
}

TEST_P(CudaExpertsTest, OfNoRows) {
  const DeviceArray logits(device(), {0, 3}, type());
  DeviceArray offsets(device(), {4}, DType::i32), rows(device(), {0}, DType::i32),
      weights(device(), {0}, DType::f32);
  device().route_rows({offsets, rows, weights}, logits, false);
  EXPECT_EQ(offsets.read_as<std::int32_t>(), (std::vector<std::int32_t>{0, 0, 0, 0}));
}

TEST_P(CudaExpertsTest, AddsWeightedRows) {
  for (const std::int64_t cols : {1, 8, 531}) {
    const HostArray x = normal({9, cols}, 4, DType::f32), y = normal({4, cols}, 5, type()),
                    w = normal({4}, 6, DType::f32);
    const std::vector<std::int32_t> rows = {7, 0, 8, 3};
    DeviceArray dx(device(), x, DType::f32), dw(device(), w, DType::f32);
    const DeviceArray dy(device(), y, type()), drows(device(), {4}, rows);
    device().add_weighted_rows(dx, dy, drows, dw);
    HostArray sum = x;
    for (std::int64_t m = 0; m < 4; ++m)
      for (std::int64_t c = 0; c < cols; ++c)
        sum[rows[std::size_t(m)] * cols + c] += w[m] * y[m * cols + c];
    EXPECT_TRUE(is_close(dx.read(), sum, 1e-6, 1e-6));
    EXPECT_TRUE(dx.guards_hold());
  }
}

TEST_P(CudaExpertsTest, RowsOutOfRangeAreNotWritten) {
  const std::vector<std::int32_t> rows = {-1, 1, 2};
  DeviceArray x(device(), HostArray({2, 3}, 1), DType::f32),
      w(device(), HostArray({3}, 2), DType::f32);
  const DeviceArray y(device(), HostArray({3, 3}, 5), type()), drows(device(), {3}, rows);
  device().add_weighted_rows(x, y, drows, w);
  EXPECT_EQ(x.read().values, (std::vector<float>{1, 1, 1, 11, 11, 11}));
  EXPECT_TRUE(x.guards_hold());
}

}  // namespace
}  // namespace lacuna::testing
