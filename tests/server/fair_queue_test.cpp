#include "server/fair_queue.h"

#include <gtest/gtest.h>

namespace lacuna {
namespace {

std::int64_t take(FairQueue& queue) {
  const std::int64_t job = queue.front().value();
  queue.remove(job);
  return job;
}

TEST(FairQueue, ServesInTurnByRows) {
  FairQueue queue;
  for (std::int64_t job = 0; job < 3; ++job) queue.push("many", job);
  EXPECT_EQ(take(queue), 0);
  queue.charge("many", 100);
  queue.push("late", 10);
  queue.push("late", 11);
  // Who comes later begins with what the least served has: no credit for having been away.
  queue.charge("late", 60);
  EXPECT_EQ(take(queue), 1);
  queue.charge("many", 100);
  EXPECT_EQ(take(queue), 10);
  queue.charge("late", 10);
  EXPECT_EQ(take(queue), 11);
  EXPECT_EQ(take(queue), 2);
  EXPECT_FALSE(queue.front());
}

TEST(FairQueue, ForgetsWhoHasNothing) {
  FairQueue queue;
  queue.push("a", 1);
  queue.charge("a", 1000);
  queue.remove(1);
  EXPECT_EQ(queue.size(), 0u);
  queue.forget_idle({"a"});
  queue.push("b", 2);  // begins where a is
  queue.push("a", 3);
  EXPECT_EQ(take(queue), 3);
  queue.forget_idle({});
  queue.push("a", 4);
  EXPECT_EQ(queue.size(), 2u);
}

}  // namespace
}  // namespace lacuna
