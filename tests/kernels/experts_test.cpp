#include <cmath>
#include <limits>
#include <map>

#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

struct Routed {
  Routed(std::int64_t rows, std::int64_t experts, std::int64_t k)
      : offsets(Shape{experts + 1}), rows_(Shape{rows * k}), weights(Shape{rows * k}) {}
  RoutedRows views() { return {offsets, rows_, weights}; }
  std::vector<std::int32_t> rows_of(std::int64_t expert) const {
    std::vector<std::int32_t> list;
    for (std::int32_t i = offsets[expert]; i < offsets[expert + 1]; ++i) list.push_back(rows_[i]);
    return list;
  }
  /// The experts of a row and their weights.
  std::map<std::int64_t, float> of_row(std::int32_t row) const {
    std::map<std::int64_t, float> found;
    for (std::int64_t e = 0; e + 1 < offsets.count(); ++e)
      for (std::int32_t i = offsets[e]; i < offsets[e + 1]; ++i)
        if (rows_[i] == row) found[e] = weights[i];
    return found;
  }
  Array<std::int32_t> offsets, rows_;
  Array<float> weights;
};

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(RouteRows, ToTheLargestOfTheSoftmaxInF64) {
  on_every_backend([](CpuOps& ops) {
    for (const std::int64_t experts : {1, 5, 64, 130})
      for (const std::int64_t k : {1, 4, 64}) {
        if (k > experts) continue;
        constexpr std::int64_t kRows = 37;
        Array<float> logits = normal({kRows, experts}, 3, 2);
        for (const bool normalise : {false, true}) {
          Routed routed(kRows, experts, k);
          ops.route_rows(routed.views(), logits, normalise);
          EXPECT_EQ(routed.offsets[0], 0);
          EXPECT_EQ(routed.offsets[experts], kRows * k);
          for (std::int64_t n = 0; n < kRows; ++n) {
            double sum = 0, chosen = 0, least = 1;
            for (std::int64_t e = 0; e < experts; ++e) sum += std::exp(double(logits.at(n, e)));
            const auto p = [&](std::int64_t e) { return std::exp(double(logits.at(n, e))) / sum; };
            const auto found = routed.of_row(std::int32_t(n));
            ASSERT_EQ(std::int64_t(found.size()), k);
            for (const auto& [e, weight] : found) {
              chosen += p(e);
              least = std::min(least, p(e));
            }
            for (const auto& [e, weight] : found)
              EXPECT_NEAR(weight, normalise ? p(e) / chosen : p(e), 1e-6);
            for (std::int64_t e = 0; e < experts; ++e)
              if (!found.count(e)) {
                EXPECT_LE(p(e), least + 1e-7);
              }
          }
          EXPECT_TRUE(routed.offsets.guards_hold() && routed.rows_.guards_hold() &&
                      routed.weights.guards_hold());
        }
      }
  });
}

TEST(RouteRows, OfEqualOnesToTheFirst) {
  CpuOps ops(1);
  Array<float> logits({3, 4}, {1, 2, 2, 2, 0, 0, 0, 0, 5, 4, 4, 5});
  Routed routed(3, 4, 2);
  ops.route_rows(routed.views(), logits, false);
  EXPECT_EQ(routed.rows_of(0), (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(routed.rows_of(1), (std::vector<std::int32_t>{0, 1}));
  EXPECT_EQ(routed.rows_of(2), (std::vector<std::int32_t>{0}));
  EXPECT_EQ(routed.rows_of(3), (std::vector<std::int32_t>{2}));
}

TEST(RouteRows, AllRowsToOneExpertAndNoneToOthers) {
  CpuOps ops(3);
  constexpr std::int64_t kRows = 5000;
  Array<float> logits({kRows, 3});
  logits.set(-4);
  for (std::int64_t n = 0; n < kRows; ++n) logits.at(n, 1) = 90;  // the others' exponentials vanish
  Routed routed(kRows, 3, 1);
  ops.route_rows(routed.views(), logits, false);
  EXPECT_EQ(routed.rows_of(0).size() + routed.rows_of(2).size(), 0u);
  for (std::int32_t n = 0; n < kRows; ++n) {
    ASSERT_EQ(routed.rows_[n], n);
    ASSERT_EQ(routed.weights[n], 1);
  }
}

TEST(RouteRows, ToAllExperts) {
  CpuOps ops(1);
  Array<float> logits({2, 3}, {0, -kInfinity, 0, 1, 2, 3});
  Routed routed(2, 3, 3);
  ops.route_rows(routed.views(), logits, true);
  EXPECT_EQ(routed.of_row(0), (std::map<std::int64_t, float>{{0, 0.5f}, {1, 0.0f}, {2, 0.5f}}));
  EXPECT_EQ(routed.of_row(1).size(), 3u);
}

// It shows in the row's own results, and in no other's.
TEST(RouteRows, ARowThatIsNoNumbersGoesToTheFirstExperts) {
  CpuOps ops(1);
  const float bad[] = {kNaN, kInfinity};
  for (const float x : bad) {
    Array<float> logits({3, 4}, {0, 1, 2, 3, 0, 0, x, 0, 3, 2, 1, 0});
    Routed routed(3, 4, 2);
    ops.route_rows(routed.views(), logits, false);
    EXPECT_EQ(routed.rows_of(0), (std::vector<std::int32_t>{1, 2}));
    EXPECT_EQ(routed.rows_of(1), (std::vector<std::int32_t>{1, 2}));
    for (const auto& [e, weight] : routed.of_row(1)) EXPECT_TRUE(std::isnan(weight));
    for (const std::int32_t n : {0, 2})
      for (const auto& [e, weight] : routed.of_row(n)) EXPECT_TRUE(std::isfinite(weight));
  }
  Array<float> nothing({1, 3}, {-kInfinity, -kInfinity, -kInfinity});
  Routed routed(1, 3, 1);
  ops.route_rows(routed.views(), nothing, true);
  EXPECT_TRUE(std::isnan(routed.of_row(0).at(0)));
}

TEST(RouteRows, OfNoRows) {
  CpuOps ops(2);
  Array<float> logits(Shape{0, 3});
  Routed routed(0, 3, 2);
  ops.route_rows(routed.views(), logits, false);
  for (std::int64_t e = 0; e <= 3; ++e) EXPECT_EQ(routed.offsets[e], 0);
}

TEST(RouteRows, NamesWhatIsWrong) {
  CpuOps ops(1);
  Array<float> logits = normal({2, 3}, 1);
  Routed four(2, 3, 4), other(2, 2, 2), fits(2, 3, 2);
  EXPECT_EQ(
      error_of([&] { ops.route_rows(four.views(), logits, false); }),
      "route_rows: rows is [8] i32 but logits is [2,3] f32; each row must go to 1 to 3 experts");
  EXPECT_EQ(error_of([&] { ops.route_rows(other.views(), logits, false); }),
            "route_rows: offsets is [3] i32; it must be [4] i32");
  Array<std::int32_t> odd(Shape{3});
  EXPECT_TRUE(contains(error_of([&] {
                         ops.route_rows({fits.offsets, odd, fits.weights}, logits, false);
                       }),
                       "rows is [3] i32"));
  Array<float> wide(Shape{1, 4097});
  Routed many(1, 4097, 1);
  EXPECT_TRUE(contains(error_of([&] { ops.route_rows(many.views(), wide, false); }),
                       "at most 4096 columns"));
}

TEST(AddWeightedRows, AddsToTheNamedRowsOnly) {
  on_every_backend([](CpuOps& ops) {
    for (const std::int64_t cols : {1, 5, 700}) {
      const Array<float> before = normal({90, cols}, 1);
      Array<float> x = before, y = normal({45, cols}, 2), weights = normal({45}, 3);
      Array<std::int32_t> rows(Shape{45});
      for (std::int64_t m = 0; m < 45; ++m) rows[m] = std::int32_t(88 - 2 * m);
      ops.add_weighted_rows(x, y, rows, weights);
      for (std::int64_t n = 0; n < 90; ++n)
        for (std::int64_t c = 0; c < cols; ++c) {
          const std::int64_t m = (88 - n) / 2;
          const double sum =
              n % 2 ? before.at(n, c) : double(before.at(n, c)) + double(weights[m]) * y.at(m, c);
          ASSERT_NEAR(x.at(n, c), sum, n % 2 ? 0 : 1e-6 * (1 + std::abs(sum)));
        }
      EXPECT_TRUE(x.guards_hold());
    }
  });
}

TEST(AddWeightedRows, NamesWhatIsWrong) {
  CpuOps ops(1);
  Array<float> x = normal({4, 3}, 1), y = normal({2, 3}, 2), weights = normal({2}, 3);
  List<std::int32_t> far{1, 4}, twice{2, 2}, one{1};
  const Array<float> before = x;
  EXPECT_EQ(error_of([&] { ops.add_weighted_rows(x, y, far, weights); }),
            "add_weighted_rows: rows[1] is 4; it must be in [0,4)");
  EXPECT_EQ(error_of([&] { ops.add_weighted_rows(x, y, twice, weights); }),
            "add_weighted_rows: rows[1] is 2 a second time; rows must be distinct");
  EXPECT_EQ(error_of([&] { ops.add_weighted_rows(x, y, one, weights); }),
            "add_weighted_rows: y is [2,3] f32; it must be [1,3] f32");
  EXPECT_TRUE(x.same_bits(before));
}

}  // namespace
}  // namespace lacuna::testing
