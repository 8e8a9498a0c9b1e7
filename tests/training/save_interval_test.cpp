#include "training/save_interval.h"

#include <gtest/gtest.h>

namespace lacuna {
namespace {

TEST(SaveInterval, LosesLessThanItsNeighbours) {
  for (const double cost : {0.1, 7.0, 300.0})
    for (const double between : {3600.0, 1e6}) {
      const double best = best_save_interval(cost, between);
      const double lost = lost_to_saving(best, cost, between);
      EXPECT_LT(lost, lost_to_saving(0.99 * best, cost, between));
      EXPECT_LT(lost, lost_to_saving(1.01 * best, cost, between));
    }
  // A minute's cost, a failure every two hours: sqrt(2 * 60 * 7200) s.
  EXPECT_NEAR(best_save_interval(60, 7200), 929.5, 0.05);
  EXPECT_NEAR(lost_to_saving(929.5, 60, 7200), 60 / 929.5 + 929.5 / 14400, 1e-12);
}

}  // namespace
}  // namespace lacuna
