#include <cmath>

#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

/// cos and sin of position * theta^(-2j/width), as ops.h says.
Array<float> angles(std::int64_t positions, std::int64_t width, double theta) {
  Array<float> table({positions, width});
  for (std::int64_t p = 0; p < positions; ++p) {
    for (std::int64_t j = 0; j < width / 2; ++j) {
      const double angle = double(p) * std::pow(theta, -2.0 * double(j) / double(width));
      table.at(p, j) = float(std::cos(angle));
      table.at(p, width / 2 + j) = float(std::sin(angle));
    }
  }
  return table;
}

TEST(Rope, AgreesWithPyTorch) {
  const Golden golden("kernels_rope");
  EXPECT_TRUE(is_close(angles(32, 10, 10000.0), golden["table"], 0, 1e-7));
  on_every_backend([&](CpuOps& ops) {
    Array<float> x = copied<float>(golden["x"], 4), dy = copied<float>(golden["dy"], 1);
    ops.rope(x, golden["positions"], golden["table"], Rotation::forward);
    EXPECT_TRUE(is_close(x, golden["y"], 1e-6, 1e-6));
    ops.rope(dy, golden["positions"], golden["table"], Rotation::inverse);
    EXPECT_TRUE(is_close(dy, golden["dx"], 1e-6, 1e-6));
    EXPECT_TRUE(x.guards_hold() && dy.guards_hold());
  });
}

TEST(Rope, TurnsBack) {
  on_every_backend([](CpuOps& ops) {
    for (const std::int64_t width : {2, 6, 32, 128}) {
      Array<float> table = angles(500, width, 5e5);
      const Array<float> before = normal({77, 3 * width}, 1, 1, 8);
      Array<float> x = before;
      Array<std::int32_t> positions = integers(77, 500, 2);
      ops.rope(x, positions, table, Rotation::forward);
      ops.rope(x, positions, table, Rotation::inverse);
      Array<float> expected = before;
      EXPECT_TRUE(is_close(x, expected, 0, 2e-6));
      EXPECT_TRUE(x.guards_hold());
    }
  });
}

// What rotary positions are for: products of queries and keys depend on their distance alone.
TEST(Rope, ProductsDependOnDistanceAlone) {
  CpuOps ops(1);
  const std::int64_t width = 16;
  Array<float> table = angles(64, width, 100.0);
  const Array<float> q = normal({1, width}, 1), k = normal({1, width}, 2);
  const auto product = [&](std::int32_t query_position, std::int32_t key_position) {
    Array<float> a = q, b = k;
    List<std::int32_t> at{query_position}, key_at{key_position};
    ops.rope(a, at, table, Rotation::forward);
    ops.rope(b, key_at, table, Rotation::forward);
    return weighted_sum(a, b);
  };
  const double near = product(3, 1), same = product(0, 0);
  for (const std::int32_t shift : {1, 7, 60}) {
    EXPECT_NEAR(product(3 + shift, 1 + shift), near, 1e-5);
    EXPECT_NEAR(product(shift, shift), same, 1e-5);
  }
  EXPECT_GT(std::abs(near - same), 1e-2);
}

TEST(Rope, InverseIsTheGradient) {
  CpuOps ops(1);
  Array<float> table = angles(9, 6, 100.0), x = normal({2, 12}, 1), dy = normal({2, 12}, 2);
  List<std::int32_t> positions{3, 8};
  Array<float> dx = dy;
  ops.rope(dx, positions, table, Rotation::inverse);
  expect_gradient("dx", x, dx, [&] {
    Array<float> y = x;
    ops.rope(y, positions, table, Rotation::forward);
    return weighted_sum(y, dy);
  });
}

TEST(Rope, OfNoRows) {
  CpuOps ops(2);
  Array<float> x(Shape{0, 8}), table = angles(3, 4, 100.0);
  Array<std::int32_t> positions(Shape{0});
  ops.rope(x, positions, table, Rotation::forward);
}

TEST(Rope, NamesWhatIsWrong) {
  CpuOps ops(1);
  Array<float> table = angles(4, 6, 100.0), x = normal({2, 12}, 1), odd({4, 5}), narrow({2, 9});
  const Array<float> before = x;
  List<std::int32_t> positions{3, 4}, three{0, 1, 2};
  EXPECT_EQ(error_of([&] { ops.rope(x, positions, table, Rotation::forward); }),
            "rope: positions[1] is 4; it must be in [0,4)");
  EXPECT_TRUE(x.same_bits(before));
  EXPECT_EQ(error_of([&] { ops.rope(x, three, table, Rotation::forward); }),
            "rope: positions is [3] i32; it must be [2] i32");
  EXPECT_EQ(error_of([&] { ops.rope(x, positions, odd, Rotation::forward); }),
            "rope: table is [4,5] f32; it must have an even number of columns, one head's width");
  EXPECT_EQ(error_of([&] { ops.rope(narrow, positions, table, Rotation::forward); }),
            "rope: x is [2,9] f32 but table is [4,6] f32; x must have a multiple of 6 columns");
}

}  // namespace
}  // namespace lacuna::testing
