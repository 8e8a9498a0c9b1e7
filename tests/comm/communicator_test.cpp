// How communicators behave: queues, groups, errors, device tensors, counters.
#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>
#include <utility>

#include "comm/device_mesh.h"
#include "kernels/cpu/cpu_ops.h"
#include "tests/comm/values.h"
#include "tests/support/ranks.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::contribution;
using testing::error_of;
using testing::same_bits;

CommunicationOptions blocks_of(std::int64_t bytes) {
  CommunicationOptions options;
  options.small_bytes = 0;
  options.block_bytes = bytes;
  return options;
}

TEST(Communicator, SplitsByColorAndOrdersByKey) {
  const auto world = testing::world();
  const int n = world->size(), rank = world->rank();
  const auto parity = world->split(rank % 2, -rank, "parity");  // the highest rank first
  EXPECT_EQ(parity->name(), "parity");
  EXPECT_EQ(parity->size(), (n + 1 - rank % 2) / 2);
  std::vector<std::int32_t> mine{rank}, all(std::size_t(parity->size()));
  parity->all_gather(tensor_of(all), tensor_of(mine));
  parity->wait();
  for (int i = 0; i < parity->size(); ++i)
    EXPECT_EQ(all[std::size_t(i)] % 2, rank % 2) << "a stranger in the group";
  for (int i = 1; i < parity->size(); ++i)
    EXPECT_EQ(all[std::size_t(i)], all[std::size_t(i - 1)] - 2);
  EXPECT_EQ(all[std::size_t(parity->rank())], rank);
}

TEST(Communicator, AGroupOfOneSendsNothing) {
  const auto world = testing::world();
  const auto alone = world->split(world->rank(), 0, "alone");
  EXPECT_NE(dynamic_cast<SelfCommunicator*>(alone.get()), nullptr);
  std::vector<float> x{3, 4}, y(2);
  alone->all_reduce(tensor_of(x), Reduce::mean);
  alone->all_gather(tensor_of(y), tensor_of(x));
  alone->barrier();
  EXPECT_EQ(y, (std::vector<float>{3, 4}));
  EXPECT_EQ(alone->stats().bytes_sent, 0);
}

TEST(Communicator, GroupsOfGroups) {
  const auto world = testing::world();
  const auto half = world->split(world->rank() * 2 / world->size(), world->rank(), "half");
  const auto single = half->split(half->rank(), 0, "single");
  EXPECT_EQ(single->size(), 1);
  EXPECT_EQ(reduced(*half, 1), half->size());
}

// A later collective sees the results of an earlier one of the same communicator without wait().
TEST(Communicator, RunsInTheOrderOfTheCalls) {
  const auto world = testing::world(blocks_of(512));
  const int n = world->size();
  std::vector<double> x(1000 * std::size_t(n), 1.0), mine(1000);
  for (int round = 0; round < 10; ++round) {
    world->reduce_scatter(tensor_of(mine), tensor_of(x), Reduce::sum);
    world->all_gather(tensor_of(x), tensor_of(mine));
  }
  world->wait();
  for (double v : x) ASSERT_EQ(v, std::pow(n, 10));
}

TEST(Communicator, KeepsCollectivesOfTwoGroupsApart) {
  const auto world = testing::world(blocks_of(4096));
  const auto again = world->split(0, world->rank(), "again");
  const int n = world->size();
  std::vector<std::vector<float>> a(20, std::vector<float>(10007, 1.0f)), b = a;
  for (std::size_t i = 0; i < a.size(); ++i) {
    world->all_reduce(tensor_of(a[i]), Reduce::sum);
    again->all_reduce(tensor_of(b[i]), Reduce::sum);
  }
  again->wait();
  for (const auto& x : b)
    for (float v : x) ASSERT_EQ(v, float(n));
  world->wait();
  for (const auto& x : a)
    for (float v : x) ASSERT_EQ(v, float(n));
}

// Communicators do not wait for each other: ranks may queue theirs in different orders.
TEST(Communicator, GroupsAreIndependent) {
  const auto world = testing::world(blocks_of(4096));
  const auto other = world->split(0, world->rank(), "other");
  Communicator* first = world.get();
  Communicator* second = other.get();
  if (world->rank() % 2) std::swap(first, second);
  std::vector<float> x(5001, 1.0f), y = x;
  first->all_reduce(tensor_of(x), Reduce::sum);
  second->all_reduce(tensor_of(y), Reduce::sum);
  first->wait();
  second->wait();
  for (float v : x) ASSERT_EQ(v, float(world->size()));
  EXPECT_TRUE(same_bits(x, y));
}

// The other ranks queue theirs only when rank 0 has come back from its call: one that waited for
// them there would wait for ever, and the timeout end the job.
TEST(Communicator, ReturnsBeforeTheOtherRanksCall) {
  const auto world = testing::world();
  const auto order = world->split(0, world->rank(), "order");
  std::vector<float> x(100000, 1.0f);
  if (world->rank() > 0) order->barrier();
  world->all_reduce(tensor_of(x), Reduce::sum);
  if (world->rank() == 0) order->barrier();
  world->wait();
  for (float v : x) ASSERT_EQ(v, float(world->size()));
}

// Rank 0 computes until the other ranks have the result, of which its part is in: a collective that
// went on in wait() alone would never be done.
TEST(Communicator, GoesOnWhileTheCallerComputes) {
  const auto world = testing::world(blocks_of(4096));
  const auto order = world->split(0, world->rank(), "order");
  std::vector<float> x(100000, 1.0f), y(1000, 2.0f);
  world->all_reduce(tensor_of(x), Reduce::sum);  // many blocks, each after an answer
  world->broadcast(tensor_of(y), 0);             // and what is queued behind it
  if (world->rank() > 0) {
    world->wait();
    for (float v : x) ASSERT_EQ(v, float(world->size()));
  }
  order->barrier();
  world->wait();
  for (float v : x) ASSERT_EQ(v, float(world->size()));
}

// Whoever comes first, the bits are the same, on all ranks.
TEST(Communicator, TimingDoesNotShowInTheResult) {
  const auto world = testing::world(blocks_of(1000));
  const int n = world->size(), rank = world->rank();
  std::vector<float> first;
  for (int round = 0; round < 12; ++round) {
    auto x = contribution(rank, 5003);
    std::this_thread::sleep_for(std::chrono::microseconds((rank * 7 + round * 13) % 5 * 300));
    world->all_reduce(tensor_of(x), Reduce::sum);
    world->wait();
    if (round == 0) first = x;
    ASSERT_TRUE(same_bits(x, first));
  }
  std::vector<float> all(first.size() * std::size_t(n));
  world->all_gather(tensor_of(all), tensor_of(first));
  world->wait();
  for (int r = 0; r < n; ++r)
    EXPECT_EQ(0, std::memcmp(first.data(), all.data() + std::size_t(r) * first.size(),
                             first.size() * sizeof(float)))
        << "rank " << r << " has other bits";
}

TEST(Communicator, RefusesTensorsThatDoNotFit) {
  const auto world = testing::world();
  const int n = world->size();
  std::vector<float> x(12 * std::size_t(n));
  std::vector<std::int32_t> ids(12);
  const Tensor flat = tensor_of(x);
  EXPECT_EQ(
      error_of([&] {
        world->all_reduce(flat.reshaped({3 * n, 4}).column_range(0, 2), Reduce::sum);
      }),
      str("all_reduce: x, [", 3 * n, ",2] f32, has rows 4 elements apart; it must be contiguous"));
  EXPECT_EQ(error_of([&] { world->all_reduce(tensor_of(ids), Reduce::mean); }),
            "all_reduce: the mean of i32 tensors is not defined; use sum");
  std::vector<float> part(5);
  EXPECT_EQ(
      error_of([&] { world->all_gather(flat, tensor_of(part)); }),
      str("all_gather: out, [", 12 * n, "] f32, must hold ", n, " times the 5 elements of mine"));
  EXPECT_EQ(error_of([&] { world->reduce_scatter(tensor_of(ids), flat, Reduce::sum); }),
            str("reduce_scatter: mine is [12] i32 and in [", 12 * n,
                "] f32; types and places must agree"));
  EXPECT_EQ(error_of([&] { world->broadcast(flat, n); }),
            str("broadcast: root ", n, " is not a rank of a group of ", n));
  if (n > 1) {
    const int other = (world->rank() + 1) % n;
    EXPECT_TRUE(contains(error_of([&] { world->all_gather(flat, flat.row_range(12 * other, 12)); }),
                         "overlaps out elsewhere than at rank"));
  }
  // Nothing was sent: the ranks still agree on what comes next.
  EXPECT_EQ(reduced(*world, 1), n);
}

TEST(Communicator, RefusesCallsThatDiffer) {
  const auto world = testing::world();
  if (world->size() == 1) GTEST_SKIP() << "one rank cannot disagree";
  {
    const auto group = world->split(0, world->rank(), "quarrel");
    const bool odd_one = group->rank() == group->size() - 1;
    std::vector<float> x(odd_one ? 3 : 5);
    const std::string error = error_of([&] {
      odd_one ? group->all_reduce(tensor_of(x), Reduce::max) : group->broadcast(tensor_of(x), 0);
      group->barrier();
    });
    EXPECT_TRUE(contains(error, "call different collectives")) << error;
    EXPECT_TRUE(contains(error, "all_reduce 1 (max of 3 f32)") ||
                contains(error, "broadcast 1 (5 f32 from rank 0)"))
        << error;
    // What failed stays failed.
    EXPECT_TRUE(contains(error_of([&] { group->barrier(); }), "call different collectives"));
  }
  EXPECT_EQ(reduced(*world, 1), world->size());
}

TEST(Communicator, CountsWhatItSends) {
  const auto world = testing::world(blocks_of(1 << 20));
  const std::int64_t n = world->size(), bytes = n * 64 * 10 * 4;
  std::vector<float> x(std::size_t(bytes / 4)), part(x.size() / std::size_t(n));
  auto sent = [&, before = std::int64_t(0)](auto&& call) mutable {
    call();
    world->wait();
    const std::int64_t now = world->stats().bytes_sent;
    return now - std::exchange(before, now);
  };
  EXPECT_EQ(sent([&] { world->all_reduce(tensor_of(x), Reduce::sum); }), 2 * (n - 1) * bytes / n);
  EXPECT_EQ(sent([&] { world->reduce_scatter(tensor_of(part), tensor_of(x), Reduce::sum); }),
            (n - 1) * bytes / n);
  EXPECT_EQ(sent([&] { world->all_gather(tensor_of(x), tensor_of(part)); }), (n - 1) * bytes / n);
  EXPECT_EQ(world->stats().collectives, 3);
}

/// A device whose memory is the host's: what is on it is marked so, and moved by copy() alone.
class MarkedDevice : public CpuOps {
 public:
  MarkedDevice() : CpuOps(1) {}
  Place place() const override { return Place::device; }
  void copy(Tensor dst, Tensor src) override {
    std::memcpy(dst.data, src.data, std::size_t(src.bytes()));
    bytes += src.bytes();
    synchronized = false;
  }
  void synchronize() override { synchronized = true; }
  std::int64_t bytes = 0;
  bool synchronized = true;
};

template <class T>
Tensor on_device(std::vector<T>& v) {
  Tensor t = tensor_of(v);
  t.place = Place::device;
  return t;
}

TEST(DeviceTensors, AreStagedThroughTheHost) {
  MarkedDevice ops;
  for (const std::int64_t part : {100, 5000}) {
    const auto world = testing::world({}, &ops);
    const int n = world->size(), rank = world->rank();
    auto x = contribution(rank, n * part), expected = x, y = x, z = x;
    std::vector<float> mine(std::size_t(part), 0.0f);
    // Each uses what the one before left on the device.
    world->all_reduce(on_device(x), Reduce::sum);
    world->reduce_scatter(on_device(mine), on_device(x), Reduce::max);
    world->all_gather(on_device(y), on_device(mine));
    world->broadcast(on_device(z), n - 1);
    world->wait();
    world->all_reduce(tensor_of(expected), Reduce::sum);  // the host's are taken as they lie
    world->wait();
    EXPECT_TRUE(same_bits(x, expected));
    EXPECT_TRUE(same_bits(y, expected));
    EXPECT_TRUE(same_bits(z, contribution(n - 1, n * part)));
  }
  if (testing::session().size() > 1) {
    EXPECT_GT(ops.bytes, 0);
    EXPECT_TRUE(ops.synchronized);
  }
}

TEST(DeviceTensors, NeedOps) {
  const auto world = testing::world();
  std::vector<float> x(4), y(4 * std::size_t(world->size()));
  EXPECT_TRUE(contains(error_of([&] { world->all_gather(on_device(y), on_device(x)); }), "Ops"));
}

}  // namespace
}  // namespace lacuna
