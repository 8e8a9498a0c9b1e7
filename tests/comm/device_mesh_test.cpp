// Which rank belongs to which group, and what ranks must agree on.
#include "comm/device_mesh.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>

#include "tests/comm/values.h"
#include "tests/support/ranks.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;

std::vector<std::int32_t> members(Communicator& group, int rank) {
  std::vector<std::int32_t> mine{rank}, all(std::size_t(group.size()));
  group.all_gather(tensor_of(all), tensor_of(mine));
  group.wait();
  return all;
}

TEST(DeviceMesh, TensorRanksAreNeighbours) {
  const int n = testing::session().size(), rank = testing::session().rank();
  for (int t = 1; t <= n; ++t) {
    if (n % t != 0) continue;
    const DeviceMesh grid(testing::world(), t);
    EXPECT_EQ(grid.world().size(), n);
    EXPECT_EQ(grid.tensor().size(), t);
    EXPECT_EQ(grid.data().size(), n / t);
    EXPECT_EQ(rank, grid.data().rank() * t + grid.tensor().rank());
    std::vector<std::int32_t> neighbours, replicas;
    for (int i = 0; i < t; ++i) neighbours.push_back(rank / t * t + i);
    for (int i = 0; i < n / t; ++i) replicas.push_back(rank % t + i * t);
    EXPECT_EQ(members(grid.tensor(), rank), neighbours);
    EXPECT_EQ(members(grid.data(), rank), replicas);
  }
}

TEST(DeviceMesh, RefusesWhatDoesNotDivide) {
  const int n = testing::session().size();
  const auto error = [](std::int64_t t) {
    return error_of<UsageError>([&] { DeviceMesh(testing::world(), t); });
  };
  const std::string choices = n == 1 ? "1" : n == 2 ? "1 or 2" : "1, 2 or 4";
  ASSERT_TRUE(n == 1 || n == 2 || n == 4);
  EXPECT_EQ(error(8),
            str("parallel.tensor_parallel = 8 does not divide the ", n, n == 1 ? " rank" : " ranks",
                " of this run: make it ", choices, "; or start a multiple of 8 ranks (mpirun -n)"));
  EXPECT_TRUE(contains(error(0), "parallel.tensor_parallel = 0 does not divide"));
}

TEST(Agreement, NamesTheFirstLineThatDiffers) {
  const auto world = testing::world();
  const int n = world->size();
  check_same_on_all_ranks(*world, "a = 1\nb = 2\n", "the configuration");
  const bool last = world->rank() == n - 1;
  const auto error = [&](const std::string& text) {
    return error_of<UsageError>(
        [&] { check_same_on_all_ranks(*world, text, "the configuration"); });
  };
  const std::string differs = error(last ? "a = 1\nb = 3\n" : "a = 1\nb = 2\n");
  const std::string longer = error(last ? "a = 1\nb = 2" : "a = 1");
  if (n == 1) {
    EXPECT_EQ(differs + longer, "");
    return;
  }
  const std::string start = str(
      "the configuration must be the same on every rank, but rank 0 and rank ", n - 1, " have ");
  EXPECT_EQ(differs, start + "'b = 2' and 'b = 3'");
  EXPECT_EQ(longer, start + "'' and 'b = 2'");
  EXPECT_EQ(reduced(*world, 1), n);
}

/// Machines the ranks were started on, in blocks of neighbours (two_hosts.sh says so).
int machines() {
  const char* given = std::getenv("LACUNA_TEST_MACHINES");
  return given ? std::atoi(given) : 1;
}

TEST(Node, SharesItsCoresOut) {
  const MpiSession& session = testing::session();
  const MpiSession::Node node = session.node();
  const int local_size = session.size() / machines();
  EXPECT_EQ(node.machines, machines());
  EXPECT_EQ(node.index, session.rank() / local_size);
  EXPECT_EQ(node.local_size, local_size);
  EXPECT_EQ(node.local_rank, session.rank() % local_size);
  if (session.size() == 1) {
    EXPECT_EQ(node.threads, 0);  // all
    return;
  }
  cpu_set_t cores;
  ASSERT_EQ(sched_getaffinity(0, sizeof cores, &cores), 0);
  // The tests' ranks are not bound: each may use every core, and gets its share of them.
  EXPECT_EQ(node.threads, std::max(1, CPU_COUNT(&cores) / local_size));
}

TEST(Node, CoresOfABoundRankAreItsOwn) {
  const MpiSession& session = testing::session();
  if (session.size() == 1) GTEST_SKIP() << "nobody to share with";
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  std::vector<int> cores;
  for (int c = 0; c < CPU_SETSIZE; ++c)
    if (CPU_ISSET(c, &before)) cores.push_back(c);
  CPU_ZERO(&one);
  CPU_SET(cores[std::size_t(session.rank()) % cores.size()], &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(session.node().threads, 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

}  // namespace
}  // namespace lacuna
