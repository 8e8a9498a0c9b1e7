#include <algorithm>
#include <limits>

#include "core/block_formats.h"
#include "tests/cuda/support.h"

namespace lacuna::testing {
namespace {

using CudaMovesTest = CudaOpsTest;
INSTANTIATE_TEST_SUITE_P(Cuda, CudaMovesTest, ::testing::ValuesIn(all_cases()), case_name);

TEST_P(CudaMovesTest, FillAndAdd) {
  for (const std::int64_t n : {1, 7, 64, 1025})
    for (const std::int64_t shift : {0, 3}) {
      const HostArray x = normal({n}, 1, type()), y = normal({n}, 2, type());
      DeviceArray dx(device(), x, type(), {0, shift}), dy(device(), y, type(), {0, shift});
      device().add(dy, dx);
      HostArray sum({n});
      for (std::int64_t i = 0; i < n; ++i) sum[i] = x[i] + y[i];
      EXPECT_EQ(dy.read().values, rounded(sum, type()).values);
      EXPECT_TRUE(dy.guards_hold());
      device().fill(dx, 0.3f);
      EXPECT_EQ(dx.read().values, rounded(HostArray({n}, 0.3f), type()).values);
      EXPECT_TRUE(dx.guards_hold());
    }
}

TEST_P(CudaMovesTest, Axpby) {
  for (const std::int64_t n : {1, 7, 64, 1025})
    for (const std::int64_t shift : {0, 3})
      for (const float beta : {0.0f, -0.25f}) {
        const HostArray x = normal({n}, 1, type()), y = normal({n}, 2, type());
        DeviceArray dx(device(), x, type(), {0, shift}), dy(device(), y, type(), {0, shift}),
            by(device(), HostArray({1}, 0.5f), DType::f32);
        // Powers of two: exact but for the sum, whether or not it is fused with a product.
        device().axpby(dy, 4.0f, dx, beta, by);
        HostArray sum({n});
        for (std::int64_t i = 0; i < n; ++i) sum[i] = beta * y[i] + 2.0f * x[i];
        EXPECT_EQ(dy.read().values, rounded(sum, type()).values);
        EXPECT_TRUE(dy.guards_hold());
      }
  // f32 from bf16, into memory that holds NaN.
  const HostArray x = normal({37}, 3, DType::bf16);
  DeviceArray dx(device(), x, DType::bf16), dy(device(), {37}, DType::f32);
  device().axpby(dy, 2.0f, dx, 0.0f);
  for (std::int64_t i = 0; i < 37; ++i) EXPECT_EQ(dy.read()[i], 2 * x[i]);
}

/// Every format with the bits of core/block_formats.h, in a grid of several blocks of threads.
TEST_P(CudaMovesTest, Dequantises) {
  for (const MatrixFormatInfo& info : kMatrixFormats) {
    const MatrixFormat format = *format_named(info.name);
    SCOPED_TRACE(info.name);
    const std::int64_t rows = 19, cols = 512, row_bytes = bytes_of_row(format, cols);
    const HostArray x = normal({rows, cols}, 5, DType::f32);
    std::vector<std::uint8_t> stored(std::size_t(rows * row_bytes));
    HostArray expected({rows, cols});
    round_to(format, x.values.data(), x.count(), stored.data());
    dequantise(format, stored.data(), x.count(), expected.values.data());
    DeviceArray bytes(device(), {rows, row_bytes}, stored), y(device(), {rows, cols}, type());
    const Matrix w(bytes.tensor().data, rows, cols, format, device().place());
    device().dequantise(y, w);
    EXPECT_EQ(y.read().values, rounded(expected, type()).values);
    EXPECT_TRUE(y.guards_hold());
    EXPECT_TRUE(contains(error_of([&] { device().dequantise(y, w.row_range(1, 3)); }),
                         "dequantise: y is [19,512]"));
  }
}

TEST_P(CudaMovesTest, AddsAcrossTypes) {
  const HostArray x = normal({37}, 1, DType::bf16), y = normal({37}, 2, DType::f32);
  DeviceArray dx(device(), x, DType::bf16), dy(device(), y, DType::f32);
  device().add(dy, dx);
  for (std::int64_t i = 0; i < 37; ++i) EXPECT_EQ(dy.read()[i], x[i] + y[i]);
}

// More than staging memory holds at once, from one vector that is changed after each call, from
// columns of it, and a copy too large to be staged.
TEST_P(CudaMovesTest, SourcesMayBeChangedAfterACopy) {
  constexpr std::int64_t kRows = 60, kCols = 1000, kMany = 40, kLarge = 300 * 1000;
  const DeviceArray all(device(), {kMany * kRows, kCols}, DType::f32),
      part(device(), {kMany * kRows, 3}, DType::f32), large(device(), {kLarge}, DType::f32);
  std::vector<float> source(kRows * kCols), more(kLarge, 7);
  for (std::int64_t i = 0; i < kMany; ++i) {
    source.assign(source.size(), float(i));
    const Tensor from(source.data(), {kRows, kCols});
    device().copy(all.tensor().row_range(i * kRows, kRows), from);
    device().copy(part.tensor().row_range(i * kRows, kRows), from.column_range(kCols - 3, 3));
  }
  device().copy(large, Tensor(more.data(), {kLarge}));
  source.assign(source.size(), -1);
  more.assign(more.size(), -1);
  const std::vector<float> found = all.read_as<float>(), columns = part.read_as<float>();
  for (std::int64_t i = 0; i < kMany * kRows; ++i) {
    ASSERT_EQ(found[std::size_t(i * kCols)], float(i / kRows));
    ASSERT_EQ(found[std::size_t((i + 1) * kCols - 1)], float(i / kRows));
    ASSERT_EQ(columns[std::size_t(3 * i + 2)], float(i / kRows));
  }
  EXPECT_EQ(large.read_as<float>(), std::vector<float>(kLarge, 7));
}

// Of types of 4 and 8 bytes, of nothing, to addresses that are aligned to packs or not; more than
// staging memory holds at once, and one upload larger than all of it. The sources change after each
// call; what was queued before a call still sees what was there.
TEST_P(CudaMovesTest, UploadsTakeTheirTurn) {
  constexpr std::int64_t kRounds = 40, kMany = 60 * 1000, kLarge = 1200 * 1000;
  DeviceArray floats(device(), {kMany}, DType::f32, {0, 3}), odd(device(), {5}, DType::i32),
      wide(device(), {3}, DType::i64), nothing(device(), {0}, DType::f32);
  const DeviceArray kept(device(), {kRounds, kMany}, DType::f32),
      kept_odd(device(), {kRounds, 5}, DType::i32), kept_wide(device(), {kRounds, 3}, DType::i64);
  std::vector<float> f(kMany);
  std::vector<std::int32_t> i(5);
  std::vector<std::int64_t> w(3);
  for (std::int64_t round = 0; round < kRounds; ++round) {
    f.assign(f.size(), float(round));
    f.back() = float(-round);
    i.assign(i.size(), std::int32_t(round));
    w = {round, -round, std::int64_t{1} << 60};
    device().upload({{floats, Tensor(f.data(), {kMany})},
                     {nothing, Tensor(f.data(), {0})},
                     {odd, Tensor(i.data(), {5})},
                     {wide, Tensor(w.data(), {3})}});
    device().copy(kept.tensor().row_range(round, 1).reshaped({kMany}), floats);
    device().copy(kept_odd.tensor().row_range(round, 1).reshaped({5}), odd);
    device().copy(kept_wide.tensor().row_range(round, 1).reshaped({3}), wide);
  }
  const DeviceArray large(device(), {kLarge}, DType::f32);
  std::vector<float> more(kLarge, 7);
  device().upload({{large, Tensor(more.data(), {kLarge})}});
  more.assign(more.size(), -1);
  device().upload({{odd, Tensor(i.data(), {5})}});
  i.assign(i.size(), -1);
  EXPECT_EQ(odd.read_as<std::int32_t>(), std::vector<std::int32_t>(5, kRounds - 1));
  EXPECT_EQ(large.read_as<float>(), std::vector<float>(kLarge, 7));
  EXPECT_TRUE(floats.guards_hold() && odd.guards_hold() && wide.guards_hold());
  const auto found = kept.read_as<float>();
  const auto found_odd = kept_odd.read_as<std::int32_t>();
  const auto found_wide = kept_wide.read_as<std::int64_t>();
  for (std::int64_t round = 0; round < kRounds; ++round) {
    const float* const row = found.data() + round * kMany;
    EXPECT_EQ(std::count(row, row + kMany - 1, float(round)), kMany - 1);
    EXPECT_EQ(row[kMany - 1], float(-round));
    for (std::int64_t n = 0; n < 5; ++n) EXPECT_EQ(found_odd[std::size_t(5 * round + n)], round);
    EXPECT_EQ(found_wide[std::size_t(3 * round + 1)], -round);
    EXPECT_EQ(found_wide[std::size_t(3 * round + 2)], std::int64_t{1} << 60);
  }
}

/// Every way between the two places, with rows apart on either side or not, and conversion.
TEST_P(CudaMovesTest, CopiesBetweenPlacesAndTypes) {
  const Shape shapes[] = {{5}, {3, 4}, {2, 3, 5}, {300, 7}};
  for (const Shape& shape : shapes)
    for (const std::int64_t gap : {0, 3}) {
      const HostArray x = normal(shape, 3, DType::f32);
      DeviceArray there(device(), x, DType::f32, {gap, 0});
      DeviceArray narrow(device(), shape, type(), {gap, 1}), again(device(), shape, DType::f32);
      device().copy(narrow, there);
      EXPECT_TRUE(narrow.guards_hold());
      EXPECT_EQ(narrow.read().values, rounded(x, type()).values);
      device().copy(again, narrow);
      EXPECT_EQ(again.read().values, rounded(x, type()).values);

      DeviceArray straight(device(), shape, type(), {gap, 0});
      device().copy(straight, x);  // from main memory, converted on the way
      EXPECT_TRUE(straight.guards_hold());
      EXPECT_EQ(straight.read().values, rounded(x, type()).values);
      HostArray back(shape);
      device().copy(back, straight);
      EXPECT_EQ(back.values, rounded(x, type()).values);
    }
}

TEST_P(CudaMovesTest, CopiesHalfPrecisionAndIntegers) {
  std::vector<Float16> halves;
  for (std::uint32_t bits = 0; bits < 0x10000; bits += 7) halves.push_back({std::uint16_t(bits)});
  const Shape shape{std::int64_t(halves.size())};
  DeviceArray there(device(), shape, halves), wide(device(), shape, DType::f32);
  device().copy(wide, there);
  HostArray expected(shape);
  for (std::int64_t i = 0; i < expected.count(); ++i)
    expected[i] = to_float(halves[std::size_t(i)]);
  EXPECT_TRUE(is_close(wide.read(), expected, 0, 0));
  device().copy(there, wide);
  const auto back = there.read_as<Float16>();
  for (std::size_t i = 0; i < halves.size(); ++i)
    if (!std::isnan(to_float(halves[i]))) {
      EXPECT_EQ(back[i].bits, halves[i].bits);
    }

  const std::vector<std::int64_t> numbers = {1, -5, std::int64_t{1} << 60};
  DeviceArray integers(device(), {3}, numbers);
  EXPECT_EQ(integers.read_as<std::int64_t>(), numbers);
}

TEST_P(CudaMovesTest, RoundsLikeTheHost) {
  std::vector<float> values;
  for (std::uint32_t high = 0; high < 0x10000; high += 53)
    for (const std::uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      values.push_back(std::bit_cast<float>(high << 16 | low));
  const Shape shape{std::int64_t(values.size())};
  DeviceArray wide(device(), shape, values), narrow(device(), shape, DType::bf16);
  device().copy(narrow, wide);
  const auto halves = narrow.read_as<BFloat16>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i]))
      EXPECT_TRUE(std::isnan(to_float(halves[i])));
    else
      EXPECT_EQ(halves[i].bits, to_bf16(values[i]).bits) << values[i];
  }
}

TEST_P(CudaMovesTest, GatherAndScatter) {
  for (const std::int64_t cols : {1, 8, 36, 531})
    for (const std::int64_t gap : {0, 16}) {
      const HostArray x = normal({9, cols}, 4, type()), y = normal({4, cols}, 5, type());
      const std::vector<std::int32_t> rows = {7, 0, 8, 3};
      DeviceArray dx(device(), x, type(), {gap, 0}), dy(device(), {4, cols}, type());
      DeviceArray drows(device(), {4}, rows);
      device().gather_rows(dy, dx, drows);
      HostArray gathered({4, cols}), added = x;
      for (std::int64_t m = 0; m < 4; ++m)
        for (std::int64_t c = 0; c < cols; ++c) {
          gathered[m * cols + c] = x[rows[std::size_t(m)] * cols + c];
          added[rows[std::size_t(m)] * cols + c] += y[m * cols + c];
        }
      EXPECT_EQ(dy.read().values, gathered.values);
      EXPECT_TRUE(dy.guards_hold());
      device().copy(dy, y);
      device().scatter_add_rows(dx, dy, drows);
      EXPECT_EQ(dx.read().values, rounded(added, type()).values);
      EXPECT_TRUE(dx.guards_hold());
      HostArray written = rounded(added, type());
      for (std::int64_t m = 0; m < 4; ++m)
        for (std::int64_t c = 0; c < cols; ++c)
          written[rows[std::size_t(m)] * cols + c] = y[m * cols + c];
      device().scatter_rows(dx, dy, drows);
      EXPECT_EQ(dx.read().values, written.values);
      EXPECT_TRUE(dx.guards_hold());
    }
}

TEST_P(CudaMovesTest, RowsOutOfRangeAreNanAndNotWritten) {
  const std::vector<std::int32_t> rows = {-1, 1, 2};
  DeviceArray x(device(), HostArray({2, 3}, 1), type()), y(device(), HostArray({3, 3}, 5), type());
  DeviceArray drows(device(), {3}, rows);
  device().scatter_add_rows(x, y, drows);
  EXPECT_EQ(x.read().values, (std::vector<float>{1, 1, 1, 6, 6, 6}));
  device().scatter_rows(x, y, drows);
  EXPECT_EQ(x.read().values, (std::vector<float>{1, 1, 1, 5, 5, 5}));
  EXPECT_TRUE(x.guards_hold());
  device().gather_rows(y, x, drows);
  const HostArray gathered = y.read();
  EXPECT_TRUE(std::isnan(gathered[0]) && std::isnan(gathered[8]));
  EXPECT_EQ(gathered[4], 5);
}

}  // namespace
}  // namespace lacuna::testing
