// NCCL between GPUs, on as many ranks as the program is started with. Skipped where there are fewer
// GPUs than ranks; in builds without CUDA they are emulated, and NCCL with them.
#include <cmath>
#include <limits>
#include <optional>

#include "comm/nccl/nccl_communicator.h"
#include "comm/reduction.h"
#include "comm/world.h"
#include "kernels/backend.h"
#include "tests/comm/values.h"
#include "tests/cuda/support.h"
#include "tests/support/device.h"
#include "tests/support/ranks.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::contribution;
using testing::DeviceArray;
using testing::from_number;
using testing::same_bits;
using testing::to_number;

// Less than a line of each rank's part, odd ends, and more than what an exchange takes at a time.
constexpr std::int64_t kCounts[] = {0, 1, 3, 63, 64, 65, 1000, 40003};
constexpr std::int64_t kBufferBytes = 32 << 10;

class NcclBase : public ::testing::Test {
 protected:
  void SetUp() override {
    if (ops_) return;
    const testing::Devices devices(testing::session().size());
    why_not_ = devices.why_not.empty() ? NcclCommunicator::why_not() : devices.why_not;
    try {
      if (why_not_.empty())
        ops_ = std::make_unique<CudaOps>(DeviceOptions{.index = testing::session().rank()});
    } catch (const Error& e) {
      why_not_ = e.what();
    }
    if (!why_not_.empty()) GTEST_SKIP() << why_not_;
  }
  static CudaOps& ops() { return *ops_; }
  /// Also of one rank, which training would not ask NCCL for.
  static std::unique_ptr<Communicator> world() {
    const MpiSession& session = testing::session();
    return std::make_unique<NcclCommunicator>(
        world_communicator(session, nullptr, {.timeout_seconds = 60}), ops(),
        NcclOptions{session.monitor(), 60, session.rank(), kBufferBytes});
  }
  template <class T>
  static DeviceArray on_device(const std::vector<T>& x) {
    return {ops(), {std::int64_t(x.size())}, x};
  }

 private:
  static std::unique_ptr<CudaOps> ops_;
  static std::string why_not_;
};
std::unique_ptr<CudaOps> NcclBase::ops_;
std::string NcclBase::why_not_;

using Nccl = NcclBase;
template <class T>
class NcclTypes : public NcclBase {
 protected:
  // Every value is a small integer, exact in each of the types.
  static int value(int rank, std::int64_t i) { return int((rank + 1) * (i % 7)) % 32; }
  static std::vector<T> values(int rank, std::int64_t count) {
    std::vector<T> x;
    for (std::int64_t i = 0; i < count; ++i) x.push_back(from_number<T>(value(rank, i)));
    return x;
  }
};
using Types =
    ::testing::Types<float, double, BFloat16, Float16, std::int32_t, std::int64_t, std::uint8_t>;
TYPED_TEST_SUITE(NcclTypes, Types);

TYPED_TEST(NcclTypes, AllReduceSumsAndFindsTheGreatest) {
  const auto world = this->world();
  for (const std::int64_t count : kCounts) {
    const auto mine = this->values(world->rank(), count);
    const auto sum = this->on_device(mine), max = this->on_device(mine);
    world->all_reduce(sum, Reduce::sum);
    world->all_reduce(max, Reduce::max);
    world->wait();
    const auto sums = sum.template read_as<TypeParam>(),
               greatest = max.template read_as<TypeParam>();
    for (std::int64_t i = 0; i < count; ++i) {
      int expected_sum = 0, expected_max = 0;
      for (int r = 0; r < world->size(); ++r) {
        expected_sum += this->value(r, i);
        expected_max = std::max(expected_max, this->value(r, i));
      }
      ASSERT_EQ(to_number(sums[std::size_t(i)]), expected_sum) << count << ", element " << i;
      ASSERT_EQ(to_number(greatest[std::size_t(i)]), expected_max) << count << ", element " << i;
    }
    EXPECT_TRUE(sum.guards_hold() && max.guards_hold());
  }
}

TYPED_TEST(NcclTypes, ReduceScatterGivesEachRankItsPart) {
  const auto world = this->world();
  const int n = world->size(), rank = world->rank();
  for (const std::int64_t count : kCounts) {
    const auto before = this->values(rank, n * count);
    const auto in = this->on_device(before), mine = this->on_device(this->values(99, count));
    world->reduce_scatter(mine, in, Reduce::sum);
    world->wait();
    EXPECT_TRUE(same_bits(in.template read_as<TypeParam>(), before)) << "the input was changed";
    world->reduce_scatter(in.tensor().row_range(rank * count, count), in, Reduce::sum);  // in place
    world->wait();
    const auto apart = mine.template read_as<TypeParam>(), all = in.template read_as<TypeParam>();
    for (std::int64_t i = 0; i < count; ++i) {
      int expected = 0;
      for (int r = 0; r < n; ++r) expected += this->value(r, rank * count + i);
      ASSERT_EQ(to_number(apart[std::size_t(i)]), expected) << count << ", element " << i;
      ASSERT_EQ(to_number(all[std::size_t(rank * count + i)]), expected) << "in place, " << i;
    }
    EXPECT_TRUE(in.guards_hold() && mine.guards_hold());
  }
}

TYPED_TEST(NcclTypes, AllGatherAndBroadcast) {
  const auto world = this->world();
  const int n = world->size(), rank = world->rank();
  for (const std::int64_t count : kCounts) {
    const auto mine = this->on_device(this->values(rank, count)),
               all = this->on_device(this->values(99, n * count));
    world->all_gather(all, mine);
    world->wait();
    const auto gathered = all.template read_as<TypeParam>();
    for (std::int64_t i = 0; i < n * count; ++i)
      ASSERT_EQ(to_number(gathered[std::size_t(i)]), this->value(int(i / count), i % count));
    for (int root = 0; root < n; ++root) {
      const auto x = this->on_device(this->values(rank, count));
      world->broadcast(x, root);
      world->wait();
      EXPECT_TRUE(same_bits(x.template read_as<TypeParam>(), this->values(root, count)));
    }
  }
}

// The promise of nccl_communicator.h: bf16 is added up in f32, in rank order, and rounded once.
TEST_F(Nccl, ReducesBf16AsTheHostDoes) {
  const auto world = this->world();
  for (const std::int64_t count : kCounts)
    for (const Reduce operation : {Reduce::sum, Reduce::mean, Reduce::max}) {
      std::vector<std::vector<BFloat16>> x;
      std::vector<const void*> parts;
      for (int r = 0; r < world->size(); ++r) {
        x.emplace_back();
        for (const float value : contribution(r, count)) x.back().push_back(to_bf16(value));
      }
      for (const auto& part : x) parts.push_back(part.data());
      std::vector<BFloat16> expected(std::size_t(count), BFloat16{});
      reduce_in_order(expected.data(), parts, count, DType::bf16, operation);
      const auto mine = on_device(x[std::size_t(world->rank())]);
      world->all_reduce(mine, operation);
      world->wait();
      EXPECT_TRUE(same_bits(mine.read_as<BFloat16>(), expected)) << count;
    }
}

TEST_F(Nccl, TheGreatestOfNaNIsNaN) {
  const auto world = this->world();
  for (int where = 0; where < world->size(); ++where) {
    const bool here = world->rank() == where;
    const auto x =
        on_device(std::vector<float>{here ? std::numeric_limits<float>::quiet_NaN() : 1.0f, 2.0f});
    world->all_reduce(x, Reduce::max);
    world->wait();
    EXPECT_TRUE(std::isnan(x.read_as<float>()[0]));
    EXPECT_EQ(x.read_as<float>()[1], 2.0f);
  }
}

/// What Ops wrote before is seen, and what they do after wait() sees the result: no host waits.
TEST_F(Nccl, IsOrderedWithTheOperations) {
  const auto world = this->world();
  constexpr std::int64_t kCount = 1 << 16;
  const auto x = on_device(std::vector<float>(kCount, -1.0f)),
             one = on_device(std::vector<float>(kCount, 1.0f));
  const double n = world->size();
  double expected = 1;
  ops().fill(x, 1);
  for (int round = 0; round < 5; ++round) {
    world->all_reduce(x, Reduce::sum);
    world->wait();
    ops().add(x, one);
    expected = n * expected + 1;
  }
  for (const float value : x.read_as<float>()) ASSERT_EQ(value, expected);
}

/// A collective that waits for other ranks holds up no computation.
TEST_F(Nccl, OverlapsComputation) {
  const auto world = this->world();
  const auto hosts = testing::world();
  const auto x = on_device(std::vector<float>(1000, 1.0f)), y = on_device(std::vector<float>(8)),
             one = on_device(std::vector<float>(8, 1.0f));
  world->all_reduce(x, Reduce::sum);  // connects
  world->wait();
  if (world->rank() > 0) hosts->barrier();
  world->all_reduce(x, Reduce::sum);
  ops().add(y, one);
  EXPECT_EQ(y.read_as<float>()[0], 1.0f);
  if (world->rank() == 0) hosts->barrier();
  world->wait();
  EXPECT_EQ(x.read_as<float>()[999], float(world->size() * world->size()));
}

/// Rank 0 leaves with a collective under way that no other rank has joined.
TEST_F(Nccl, AbortsWhenAnExceptionPassesBy) {
  const auto x = on_device(std::vector<float>(1000, 1.0f)), y = on_device(std::vector<float>(8));
  const std::string error = testing::error_of([&] {
    const auto world = this->world();
    world->all_reduce(x, Reduce::sum);
    world->wait();
    ops().synchronize();
    if (world->rank() > 0) return;
    world->all_reduce(x, Reduce::sum);
    world->wait();
    fail("out of disk");
  });
  EXPECT_EQ(error, testing::session().rank() > 0 ? "" : "out of disk");
  ops().fill(y, 3);
  EXPECT_EQ(y.read_as<float>()[7], 3.0f);
  testing::world()->barrier();
}

/// The same with memory that is released, and two groups that are destroyed, before and after each
/// other: a device waits for all its work before it releases any. The watches are not asked.
TEST_F(Nccl, AbortsAllGroupsBeforeMemoryIsReleased) {
  for (const bool guarded : {true, false}) {
    const std::string error = testing::error_of([&] {
      const auto outlives = on_device(std::vector<float>(1000, 1.0f));
      const auto world = this->world();
      const auto again = world->split(0, world->rank(), "again");
      std::optional<DeviceArray> released;
      if (guarded) released.emplace(ops(), Shape{1000}, std::vector<float>(1000, 1.0f));
      std::optional<AbortOnException> guard;
      if (guarded) guard.emplace(*world);
      for (auto* group : {world.get(), again.get()}) {
        group->all_reduce(outlives, Reduce::sum);
        group->wait();
      }
      ops().synchronize();
      if (world->rank() > 0) return;
      for (auto* group : {again.get(), world.get()}) {
        group->all_reduce(outlives, Reduce::max);  // by an exchange, whose buffer is released too
        group->wait();
      }
      fail("out of disk");
    });
    EXPECT_EQ(error, testing::session().rank() > 0 ? "" : "out of disk");
    testing::world()->barrier();
  }
}

TEST_F(Nccl, TakesNothingAfterAnAbort) {
  const auto world = this->world();
  const auto again = world->split(0, world->rank(), "again");
  const auto x = on_device(std::vector<float>(8, 1.0f));
  world->all_reduce(x, Reduce::sum);
  world->wait();
  ops().synchronize();
  testing::world()->barrier();
  world->abort();
  if (again->size() == 1) return;  // no GPU is asked for that
  EXPECT_TRUE(contains(testing::error_of([&] { again->all_reduce(x, Reduce::sum); }),
                       "of group 'again' after an abort"));
}

/// Called in one order, and by chance begun in another if each group had a stream of its own.
TEST_F(Nccl, KeepsCollectivesOfTwoGroupsApart) {
  const auto world = this->world();
  const auto again = world->split(0, world->rank(), "again");
  const float n = float(world->size());
  std::vector<std::unique_ptr<DeviceArray>> a, b;
  for (int i = 0; i < 20; ++i) {
    for (auto* list : {&a, &b})
      list->push_back(
          std::make_unique<DeviceArray>(ops(), testing::HostArray({10007}, 1), DType::f32));
    world->all_reduce(*a.back(), Reduce::sum);
    again->all_reduce(*b.back(), Reduce::sum);
  }
  again->wait();
  world->wait();
  for (const auto* list : {&a, &b})
    for (const auto& x : *list)
      for (const float value : x->read().values) ASSERT_EQ(value, n);
}

TEST_F(Nccl, TakesHostTensorsToo) {
  const auto world = this->world();
  EXPECT_EQ(reduced(*world, world->rank() + 1), world->size() * (world->size() + 1) / 2);
  EXPECT_EQ(shared_text(*world, world->rank() == 0 ? "zero" : "other"), "zero");
  world->barrier();
}

TEST_F(Nccl, Counts) {
  const auto world = this->world();
  const std::int64_t n = world->size();
  const auto x = on_device(std::vector<float>(std::size_t(12 * n)));
  world->all_reduce(x, Reduce::sum);  // connects
  const CommunicationStats before = world->stats();
  world->all_reduce(x, Reduce::sum);  // 2 (n-1) 48
  world->reduce_scatter(x.tensor().row_range(12 * world->rank(), 12), x, Reduce::sum);  // (n-1) 48
  world->wait();
  ops().synchronize();
  const CommunicationStats after = world->stats();
  EXPECT_EQ(after.collectives, before.collectives + 2);
  EXPECT_EQ(after.bytes_sent, before.bytes_sent + 3 * (n - 1) * 48);
  EXPECT_GT(after.waited_seconds, before.waited_seconds);
}

TEST_F(Nccl, NamesWhatDoesNotFit) {
  const auto world = this->world();
  const auto x = on_device(std::vector<std::int32_t>(6));
  EXPECT_TRUE(contains(testing::error_of([&] { world->all_reduce(x, Reduce::mean); }),
                       "all_reduce: the mean of i32 tensors is not defined"));
  EXPECT_TRUE(contains(testing::error_of([&] { world->broadcast(x, 99); }), "root 99"));
}

}  // namespace
}  // namespace lacuna
