#include <limits>
#include <vector>

#include "core/tensor_of.h"
#include "kernels/cpu/cpu_ops.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using Numbers = std::vector<std::int32_t>;

constexpr std::int32_t kMask = 9;

/// Rows 1, 3, 5, 7 of one canvas of eight tokens, and row 9 of another of two.
struct Unmask : ::testing::Test {
  void run() {
    ops.unmask(tensor_of(canvas), tensor_of(confidence), tensor_of(bad), tensor_of(tokens),
               tensor_of(rows), tensor_of(offsets), tensor_of(counts), kMask);
  }
  CpuOps ops{1};
  Numbers canvas = {0, 9, 0, 9, 0, 4, 0, 9, 0, 9}, bad = {0}, tokens = {11, 12, 13, 14, 15},
          rows = {1, 3, 5, 7, 9}, offsets = {0, 4, 5}, counts = {2, 1};
  std::vector<float> confidence = {0.5f, 0.25f, 0.9f, 0.5f, 0.0f};
};

TEST_F(Unmask, TheMostConfidentOfTheMasked) {
  run();
  EXPECT_EQ(canvas, (Numbers{0, 11, 0, 9, 0, 4, 0, 14, 0, 15}));
  EXPECT_EQ(confidence, (std::vector<float>{0.5f, 0.25f, -1, 0.5f, 0.0f}));
  EXPECT_EQ(bad[0], 0);
}

TEST_F(Unmask, TheFirstOfEquals) {
  counts = {1, 0};
  run();
  EXPECT_EQ(canvas, (Numbers{0, 11, 0, 9, 0, 4, 0, 9, 0, 9}));
}

TEST_F(Unmask, MoreThanThereAre) {
  counts = {7, 1};
  run();
  EXPECT_EQ(canvas, (Numbers{0, 11, 0, 12, 0, 4, 0, 14, 0, 15}));
}

TEST_F(Unmask, ATokenMayBeTheMask) {
  tokens[0] = kMask;
  run();
  EXPECT_EQ(canvas, (Numbers{0, 9, 0, 9, 0, 4, 0, 14, 0, 15}));
}

TEST_F(Unmask, SaysWhenAConfidenceIsNotFinite) {
  confidence[2] = std::numeric_limits<float>::quiet_NaN();  // of a row that is not masked
  run();
  EXPECT_EQ(bad[0], 0);
  confidence[1] = std::numeric_limits<float>::quiet_NaN();
  run();
  EXPECT_EQ(bad[0], 1);
}

TEST_F(Unmask, WrongTensors) {
  rows[4] = 10;
  EXPECT_TRUE(contains(error_of([&] { run(); }), "unmask: rows[4] is 10; canvas is [10] i32"));
  rows.pop_back();
  EXPECT_TRUE(contains(error_of([&] { run(); }), "unmask: tokens is [5] i32; it must be [4] i32"));
}

}  // namespace
}  // namespace lacuna
