#include <numeric>

#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

TEST(GatherRows, TakesRowsOfAStridedTensor) {
  on_every_backend([](CpuOps& ops) {
    for (const std::int64_t cols : {1, 5, 700}) {
      Array<float> x = normal({50, cols}, 1, 1, 3), y(Shape{80, cols});
      Array<std::int32_t> rows = integers(80, 50, 2);
      ops.gather_rows(y, x, rows);
      for (std::int64_t m = 0; m < 80; ++m)
        for (std::int64_t c = 0; c < cols; ++c) ASSERT_EQ(y.at(m, c), x.at(rows[m], c));
      EXPECT_TRUE(y.guards_hold());
    }
  });
}

TEST(GatherRows, OfNoRows) {
  CpuOps ops(2);
  Array<float> x = normal({4, 3}, 1), y(Shape{0, 3});
  Array<std::int32_t> rows(Shape{0});
  ops.gather_rows(y, x, rows);
  const Array<float> before = x;
  ops.scatter_add_rows(x, y, rows);
  ops.scatter_rows(x, y, rows);
  EXPECT_TRUE(x.same_bits(before));
}

TEST(ScatterAddRows, AddsToTheNamedRowsOnly) {
  on_every_backend([](CpuOps& ops) {
    for (const std::int64_t cols : {1, 5, 700}) {
      const Array<float> before = normal({90, cols}, 1, 1, 3);
      Array<float> x = before, y = normal({45, cols}, 2);
      Array<std::int32_t> rows(Shape{45});
      for (std::int64_t m = 0; m < 45; ++m) rows[m] = std::int32_t(88 - 2 * m);
      ops.scatter_add_rows(x, y, rows);
      for (std::int64_t n = 0; n < 90; ++n)
        for (std::int64_t c = 0; c < cols; ++c)
          ASSERT_EQ(x.at(n, c),
                    n % 2 == 0 ? before.at(n, c) + y.at((88 - n) / 2, c) : before.at(n, c));
      EXPECT_TRUE(x.guards_hold());
    }
  });
}

TEST(ScatterRows, WritesTheNamedRowsOnly) {
  on_every_backend([](CpuOps& ops) {
    for (const std::int64_t cols : {1, 5, 700}) {
      const Array<float> before = normal({90, cols}, 1, 1, 3);
      Array<float> x = before, y = normal({45, cols}, 2), again(Shape{45, cols});
      Array<std::int32_t> rows(Shape{45});
      for (std::int64_t m = 0; m < 45; ++m) rows[m] = std::int32_t(88 - 2 * m);
      ops.scatter_rows(x, y, rows);
      for (std::int64_t n = 0; n < 90; ++n)
        for (std::int64_t c = 0; c < cols; ++c)
          ASSERT_EQ(x.at(n, c), n % 2 == 0 ? y.at((88 - n) / 2, c) : before.at(n, c));
      EXPECT_TRUE(x.guards_hold());
      ops.gather_rows(again, x, rows);
      EXPECT_TRUE(again.same_bits(y));
    }
  });
}

// <gather(x), y> = <x, scatter(y)>: one is the backward pass of the other.
TEST(ScatterAddRows, IsTheTransposeOfGathering) {
  CpuOps ops(2);
  Array<float> x = normal({9, 6}, 1), y = normal({4, 6}, 2), gathered({4, 6}), scattered({9, 6});
  List<std::int32_t> rows{7, 0, 8, 3};
  ops.gather_rows(gathered, x, rows);
  scattered.set(0);
  ops.scatter_add_rows(scattered, y, rows);
  EXPECT_EQ(weighted_sum(gathered, y), weighted_sum(y, gathered));
  EXPECT_NEAR(weighted_sum(gathered, y), weighted_sum(x, scattered), 1e-12);
}

TEST(GatherRows, NamesWhatIsWrong) {
  CpuOps ops(1);
  Array<float> x = normal({4, 3}, 1), y(Shape{2, 3}), narrow(Shape{2, 2});
  List<std::int32_t> rows{1, 4}, twice{2, 2}, negative{0, -1};
  EXPECT_EQ(error_of([&] { ops.gather_rows(y, x, rows); }),
            "gather_rows: rows[1] is 4; it must be in [0,4)");
  EXPECT_EQ(error_of([&] { ops.gather_rows(y, x, negative); }),
            "gather_rows: rows[1] is -1; it must be in [0,4)");
  EXPECT_EQ(error_of([&] { ops.gather_rows(narrow, x, twice); }),
            "gather_rows: y is [2,2] f32; it must be [2,3] f32");
  const Array<float> before = x;
  y.set(1);
  EXPECT_EQ(error_of([&] { ops.scatter_add_rows(x, y, twice); }),
            "scatter_add_rows: rows[1] is 2 a second time; rows must be distinct");
  EXPECT_EQ(error_of([&] { ops.scatter_add_rows(x, y, rows); }),
            "scatter_add_rows: rows[1] is 4; it must be in [0,4)");
  EXPECT_EQ(error_of([&] { ops.scatter_rows(x, y, twice); }),
            "scatter_rows: rows[1] is 2 a second time; rows must be distinct");
  EXPECT_EQ(error_of([&] { ops.scatter_rows(x, y, negative); }),
            "scatter_rows: rows[1] is -1; it must be in [0,4)");
  EXPECT_EQ(error_of([&] { ops.scatter_rows(x, narrow, rows); }),
            "scatter_rows: y is [2,2] f32; it must be [2,3] f32");
  EXPECT_TRUE(x.same_bits(before)) << "written before the check";
}

}  // namespace
}  // namespace lacuna::testing
