#include "comm/work_queue.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "tests/support/ranks.h"

namespace lacuna {
namespace {

/// How often each of `count` items was given, over all ranks of a group.
std::vector<std::int64_t> counts(WorkQueue& queue, Communicator& group, std::int64_t count) {
  std::vector<std::int64_t> times(std::size_t(count), 0);
  queue.begin(count);
  while (const auto item = queue.next()) {
    EXPECT_TRUE(*item >= 0 && *item < count) << *item;
    ++times[std::size_t(*item)];
  }
  queue.finish();
  if (count == 0) return times;
  group.all_reduce(Tensor(times.data(), Shape{count}), Reduce::sum);
  group.wait();
  return times;
}

TEST(WorkQueue, GivesEachItemOnceToEachGroup) {
  const int n = testing::session().size();
  for (int t = 1; t <= n; ++t) {
    if (n % t != 0) continue;
    const DeviceMesh mesh(testing::world(), t);
    WorkQueue queue(testing::session(), mesh);
    // More items than ranks, fewer, none; one after the other.
    for (const std::int64_t count : {20, 1, 0, 3})
      EXPECT_EQ(counts(queue, mesh.data(), count), std::vector<std::int64_t>(std::size_t(count), 1))
          << count << " items, " << t << " tensor ranks";
  }
}

TEST(WorkQueue, RanksOfATensorGroupGetTheSame) {
  const int n = testing::session().size();
  const DeviceMesh mesh(testing::world(), n % 2 == 0 ? 2 : 1);
  WorkQueue queue(testing::session(), mesh);
  queue.begin(30);
  while (const auto item = queue.next()) {
    const double sum = reduced(mesh.tensor(), double(*item));
    EXPECT_EQ(sum, double(*item * mesh.tensor().size()));
  }
  queue.finish();
}

// A rank that takes long does not hold up the other, which gets all else.
TEST(WorkQueue, AFreeRankTakesTheNextItem) {
  if (testing::session().size() != 2) GTEST_SKIP() << "for two ranks";
  const DeviceMesh mesh(testing::world(), 1);
  WorkQueue queue(testing::session(), mesh);
  queue.begin(40);
  if (mesh.world().rank() == 0) {
    EXPECT_EQ(queue.next(), 0);
    mesh.world().barrier();
  } else {
    mesh.world().barrier();
    for (std::int64_t item = 1; item < 40; ++item) EXPECT_EQ(queue.next(), item);
  }
  mesh.world().barrier();  // rank 0 is done with its item
  for (int i = 0; i < 3; ++i) EXPECT_EQ(queue.next(), std::nullopt);
  queue.finish();
}

}  // namespace
}  // namespace lacuna
