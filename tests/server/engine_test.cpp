#include "server/engine.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <thread>

#include "tests/server/served_model.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

// Two tasks run out of time: one between its passes, the other in the queue behind it.
TEST(Engine, TasksThatRunOutOfTimeInTheQueueAreNoLongerCounted) {
  EngineLimits limits;
  limits.timeout_seconds = 0.02;
  ServerMetrics metrics;
  std::promise<void> queued, first_failed, second_failed;
  Engine engine(*bidirectional_model(), limits, metrics);
  ASSERT_TRUE(engine.run({[&] {
                            queued.get_future().wait();
                            std::this_thread::sleep_for(std::chrono::milliseconds(40));
                            engine.between_passes();
                          },
                          [&](const std::exception&) { first_failed.set_value(); }}));
  ASSERT_TRUE(engine.run({[] { ADD_FAILURE() << "is late"; },
                          [&](const std::exception&) { second_failed.set_value(); }}));
  queued.set_value();
  first_failed.get_future().wait();
  second_failed.get_future().wait();
  EXPECT_EQ(metrics.queued, 0);
  EXPECT_EQ(metrics.failed, 2);
}

}  // namespace
}  // namespace lacuna
