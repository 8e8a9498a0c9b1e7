#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/platform/hopper_intrinsics.h"
#include "tests/cuda/emulator_orders.h"
#include "tests/support/support.h"

// sm_90a's instructions in the emulator: right kernels, and wrong ones of which it has to say what
// is wrong.

namespace lacuna {
namespace {

using testing::contains;
using testing::EmulatorTest;
using testing::error_of;

constexpr int kRows = 64, kWarpgroup = 128;
constexpr std::size_t kTileBytes = kRows * kBoxRowBytes, kShared = 3 * 1024 + 2 * kTileBytes;

/// What a kernel does wrong.
enum class Fault : std::uint8_t {
  none,
  no_fence,
  wait_names_nothing,
  wait_names_too_early,
  sums_written,
  sums_read,
  factor_written,
  commit_diverges,
  wait_diverges,
  store_without_proxy_fence,
  copy_over_a_store
};

/// How the factors lie: c = a b^T of rows; a b with `a` from registers; a^T b.
enum class Factors : std::uint8_t { rows, registers, columns };

/// Of two tiles of 64 rows and columns.
template <Fault fault, Factors factors>
__global__ void product(float* c, const __grid_constant__ TensorMap a_map,
                        const __grid_constant__ TensorMap b_map) {
  auto* memory = dynamic_shared<unsigned char>();
  memory += (1024 - window_address(memory) % 1024) % 1024;
  unsigned char *a = memory, *b = memory + kTileBytes;
  auto* here = reinterpret_cast<MemoryBarrier*>(memory + 2 * kTileBytes);
  const int thread = int(threadIdx.x), lane = thread % 32, row = thread / 32 * 16 + lane / 4;
  if (thread == 0) {
    barrier_init(here, 1);
    barrier_init_done();
    barrier_arrive_expecting(here, 2 * kTileBytes);
    tma_load(a, a_map, 0, 0, here);
    tma_load(b, b_map, 0, 0, here);
  }
  __syncthreads();
  barrier_wait(here, 0);
  if constexpr (fault == Fault::store_without_proxy_fence || fault == Fault::copy_over_a_store) {
    if (thread == 40) store_pack<4>(reinterpret_cast<float*>(b) + 8, Pack<float, 4>{});
    __syncthreads();
    if (thread == 0 && fault == Fault::copy_over_a_store) {
      barrier_arrive_expecting(here, kTileBytes);
      tma_load(b, b_map, 0, 0, here);
    }
  }
  std::uint32_t weights[4][4];
  for (int k = 0; k < 4; ++k)
    for (int i = 0; i < 4; ++i) {
      const int r = row + i % 2 * 8, column = 16 * k + lane % 4 * 2 + i / 2 * 8;
      const auto* of_row = reinterpret_cast<const BFloat16*>(a + r * kBoxRowBytes);
      const BFloat16* pair = of_row + ((column / 8) ^ (r % 8)) * 8 + column % 8;
      weights[k][i] = pair[0].bits | std::uint32_t{pair[1].bits} << 16;
    }
  float sums[32], others[32];
  for (int i = 0; i < 32; ++i) sums[i] = others[i] = 0;
  if constexpr (fault != Fault::no_fence) wgmma_fence(sums, others, weights);
  for (std::uint32_t k = 0; k < 4; ++k) {
    const std::uint64_t columns = matrix_descriptor(window_address(b) + k * 16 * kBoxRowBytes);
    if constexpr (factors == Factors::registers)
      wgmma_columns(sums, weights[k], columns);
    else if constexpr (factors == Factors::columns)
      wgmma_columns(sums, matrix_descriptor(window_address(a) + k * 16 * kBoxRowBytes), columns,
                    k > 0);
    else
      wgmma_rows(sums, matrix_descriptor(window_address(a) + k * 32),
                 matrix_descriptor(window_address(b) + k * 32), k > 0);
  }
  if (fault != Fault::commit_diverges || lane < 7) wgmma_commit();
  if constexpr (fault == Fault::sums_written) sums[5] *= 2;
  if constexpr (fault == Fault::sums_read) c[thread] = sums[5];
  if constexpr (fault == Fault::factor_written) weights[2][1] = 0;
  if constexpr (fault == Fault::wait_names_too_early) wgmma_wait<1>(sums);
  if (fault != Fault::wait_diverges || thread / 32 != 1 || lane != 3) {
    if constexpr (fault == Fault::wait_names_nothing)
      wgmma_wait<0>();
    else
      wgmma_wait<0>(sums, others, weights);
  }
  if constexpr (fault == Fault::sums_read) return;
  for (int i = 0; i < 32; ++i)
    c[(row + i % 4 / 2 * 8) * kRows + i / 4 * 8 + lane % 4 * 2 + i % 2] = sums[i];
}

class HopperEmulatorTest : public EmulatorTest {
 protected:
  HopperEmulatorTest() {
    for (int i = 0; i < kRows * kRows; ++i) {
      a_[i] = to_bf16(float(i * 37 % 101 - 50));
      b_[i] = to_bf16(float(i * 53 % 97 - 48));
    }
  }
  template <Fault fault, Factors factors = Factors::rows>
  std::vector<float> run() {
    std::vector<float> c(std::size_t(kRows * kRows), 0);
    launch({"an_op", 1, kWarpgroup, kShared, nullptr}, product<fault, factors>, c.data(),
           tensor_map("an_op", a_, kRows, kRows, kRows, kRows),
           tensor_map("an_op", b_, kRows, kRows, kRows, kRows));
    return c;
  }
  template <Fault fault, Factors factors = Factors::rows>
  std::string error() {
    return error_of([&] { run<fault, factors>(); });
  }
  alignas(64) BFloat16 a_[kRows * kRows], b_[kRows * kRows];
};
INSTANTIATE_TEST_SUITE_P(Orders, HopperEmulatorTest, ::testing::ValuesIn(testing::kOrders),
                         testing::order_name);

TEST_P(HopperEmulatorTest, Products) {
  const std::vector<float> by_rows = run<Fault::none>();
  const std::vector<float> registers = run<Fault::none, Factors::registers>();
  const std::vector<float> by_columns = run<Fault::none, Factors::columns>();
  for (int i = 0; i < kRows; ++i)
    for (int j = 0; j < kRows; ++j) {
      float rows = 0, mixed = 0, columns = 0;  // of integers below 2^24: exact
      for (int k = 0; k < kRows; ++k) {
        rows += to_float(a_[i * kRows + k]) * to_float(b_[j * kRows + k]);
        mixed += to_float(a_[i * kRows + k]) * to_float(b_[k * kRows + j]);
        columns += to_float(a_[k * kRows + i]) * to_float(b_[k * kRows + j]);
      }
      ASSERT_EQ(by_rows[std::size_t(i * kRows + j)], rows) << i << "," << j;
      ASSERT_EQ(registers[std::size_t(i * kRows + j)], mixed) << i << "," << j;
      ASSERT_EQ(by_columns[std::size_t(i * kRows + j)], columns) << i << "," << j;
    }
}

TEST_P(HopperEmulatorTest, SaysWhatAProductDoesWrong) {
  constexpr const char* unfenced = "registers were not named in a wgmma.fence";
  EXPECT_TRUE(contains(error<Fault::no_fence>(), unfenced));
  EXPECT_TRUE(contains(error<Fault::no_fence, Factors::registers>(), unfenced));
  EXPECT_TRUE(contains(error<Fault::wait_names_nothing>(), "a wait that does not name"));
  EXPECT_TRUE(contains(error<Fault::wait_names_too_early>(), "of a product still under way"));
  EXPECT_TRUE(contains(error<Fault::sums_written>(), "sums were written while it was under way"));
  EXPECT_TRUE(
      contains(error<Fault::factor_written, Factors::registers>(), "first factor was written"));
  EXPECT_TRUE(contains(error<Fault::commit_diverges>(), "call different warp functions"));
  EXPECT_TRUE(contains(error<Fault::wait_diverges>(), "waits at wgmma.wait_group"));
  EXPECT_TRUE(contains(error<Fault::store_without_proxy_fence>(),
                       "a product reads what a thread stored without fence.proxy.async"));
  EXPECT_TRUE(contains(error<Fault::copy_over_a_store>(),
                       "a copy to what a thread stored without fence.proxy.async"));
  EXPECT_EQ(error<Fault::none>(), "");
}

TEST_P(HopperEmulatorTest, SumsAreNanWhileAProductIsUnderWay) {
  const std::vector<float> c = run<Fault::sums_read>();
  for (int thread = 0; thread < kWarpgroup; ++thread)
    EXPECT_TRUE(std::isnan(c[std::size_t(thread)]));
}

// --- barriers in shared memory -------------------------------------------------------------------

__global__ void wait_uninitialised() { barrier_wait(dynamic_shared<MemoryBarrier>(), 0); }
__global__ void initialised_twice() {
  barrier_init(dynamic_shared<MemoryBarrier>(), 1);
  barrier_init(dynamic_shared<MemoryBarrier>(), 2);
}
__global__ void initialised_unaligned() {
  barrier_init(reinterpret_cast<MemoryBarrier*>(dynamic_shared<unsigned char>() + 4), 1);
}
/// Phases end before anyone waits for the first of them.
template <int phases>
__global__ void late_wait() {
  auto* b = dynamic_shared<MemoryBarrier>();
  barrier_init(b, 1);
  for (int i = 0; i < phases; ++i) barrier_arrive(b);
  barrier_wait(b, 0);
}
__global__ void too_many_bytes() {
  auto* b = dynamic_shared<MemoryBarrier>();
  barrier_init(b, 3);
  for (int i = 0; i < 2; ++i) barrier_arrive_expecting(b, 1u << 19);
}
/// A producer and a consumer that takes every phase in turn; fresh barriers let the producer begin.
__global__ void turns(int* sums) {
  auto* b = dynamic_shared<MemoryBarrier>();  // filled, emptied
  auto* value = reinterpret_cast<int*>(b + 2);
  if (threadIdx.x == 0) {
    barrier_init(b, 1);
    barrier_init(b + 1, 1);
    barrier_init_done();
  }
  __syncthreads();
  int sum = 0;
  for (int i = 0; i < 5; ++i) {
    if (threadIdx.x == 32) {
      barrier_wait(b + 1, unsigned(i & 1) ^ 1);
      *value = i * i;
      barrier_arrive(b);
    } else if (threadIdx.x == 0) {
      barrier_wait(b, unsigned(i & 1));
      sum += *value;
      barrier_arrive(b + 1);
    }
  }
  if (threadIdx.x == 0) *sums = sum;
}

TEST_P(HopperEmulatorTest, MemoryBarriers) {
  const auto error = [](auto kernel, auto... arguments) {
    return error_of([&] { launch({"an_op", 1, 64, 64, nullptr}, kernel, arguments...); });
  };
  const auto error_alone = [](auto kernel) {
    return error_of([&] { launch({"an_op", 1, 1, 64, nullptr}, kernel); });
  };
  int sum = 0;
  EXPECT_EQ(error(turns, &sum), "");
  EXPECT_EQ(sum, 0 + 1 + 4 + 9 + 16);
  EXPECT_TRUE(contains(error_alone(wait_uninitialised), "that was not initialised"));
  EXPECT_TRUE(contains(error_alone(initialised_twice), "that is initialised twice"));
  EXPECT_TRUE(contains(error_alone(initialised_unaligned), "a misaligned vector access"));
  EXPECT_EQ(error_alone(late_wait<1>), "");
  // Hardware would hang after two phases, and go on after three as though all were well.
  EXPECT_TRUE(contains(error_alone(late_wait<2>), "a phase of a memory barrier before the last"));
  EXPECT_TRUE(contains(error_alone(late_wait<3>), "a phase of a memory barrier before the last"));
  EXPECT_TRUE(contains(error_alone(too_many_bytes), "expects 2^20 bytes or more"));
}

// --- clusters ------------------------------------------------------------------------------------

enum class ClusterFault : std::uint8_t {
  none,
  no_arrival_at_the_other,
  too_many_bytes,
  begins_alone,
  ends_alone,
  third_block
};

/// Of two blocks, each copies a box to both, three times into the same place: sums[block][i] is
/// that of both boxes' elements i, thrice.
template <ClusterFault fault>
__global__ void multicast(float* sums, const __grid_constant__ TensorMap a_map,
                          const __grid_constant__ TensorMap b_map) {
  auto* memory = dynamic_shared<unsigned char>();
  memory += (1024 - window_address(memory) % 1024) % 1024;
  auto* here = reinterpret_cast<MemoryBarrier*>(memory + 2 * kTileBytes);
  MemoryBarrier* read = here + 1;
  const unsigned thread = threadIdx.x, rank = block_rank();
  if (thread == 0) {
    barrier_init(here, 1);
    barrier_init(read, 2);
    barrier_init_done();
  }
  if (fault == ClusterFault::begins_alone)
    __syncthreads();
  else
    sync_cluster();
  float sum = 0;
  for (unsigned i = 0; i < 3; ++i) {
    if (thread == 32) {
      barrier_wait(read, (i & 1) ^ 1);
      constexpr unsigned kBoxes = fault == ClusterFault::too_many_bytes ? 3 : 2;
      barrier_arrive_expecting(here, kBoxes * kTileBytes);
      tma_multicast(memory + rank * kTileBytes, rank == 0 ? a_map : b_map, 0, 0, here, 3);
    }
    barrier_wait(here, i & 1);
    for (unsigned box = 0; box < 2; ++box)
      sum += widen(reinterpret_cast<const BFloat16*>(memory + box * kTileBytes)[thread]);
    sync_warpgroups<1, 64>();
    if (thread >= 2 || (fault == ClusterFault::no_arrival_at_the_other && thread != rank)) continue;
    barrier_arrive_at(read, fault == ClusterFault::third_block ? thread * 2 : thread);
  }
  sums[blockIdx.x * 64 + thread] = sum;
  if (fault != ClusterFault::ends_alone) sync_cluster();
}

TEST_P(HopperEmulatorTest, Clusters) {
  std::vector<float> sums, expected;
  for (std::size_t i = 0; i < 4 * 64; ++i)
    expected.push_back(3 * (to_float(a_[i % 64]) + to_float(b_[i % 64])));
  const auto error = [&](auto kernel) {
    sums.assign(4 * 64, 0);
    return error_of([&] {
      launch({"an_op", 4, 64, kShared, nullptr, 2}, kernel, sums.data(),
             tensor_map("an_op", a_, kRows, kRows, kRows, kRows),
             tensor_map("an_op", b_, kRows, kRows, kRows, kRows));
    });
  };
  EXPECT_EQ(error(multicast<ClusterFault::none>), "");
  EXPECT_EQ(sums, expected);
  EXPECT_TRUE(contains(error(multicast<ClusterFault::no_arrival_at_the_other>),
                       "waits at a barrier in memory"));
  EXPECT_TRUE(
      contains(error(multicast<ClusterFault::too_many_bytes>), "waits at a barrier in memory"));
  EXPECT_TRUE(contains(error(multicast<ClusterFault::begins_alone>),
                       "another block's memory barrier without barrier.cluster"));
  EXPECT_TRUE(contains(error(multicast<ClusterFault::ends_alone>),
                       "a block ended without barrier.cluster since another reached"));
  EXPECT_TRUE(contains(error(multicast<ClusterFault::third_block>),
                       "a block that the cluster does not have"));
  EXPECT_TRUE(contains(error_of([] {
                         launch({"an_op", 3, 64, kShared, nullptr, 2}, wait_uninitialised);
                       }),
                       "clusters of 2 blocks in a grid of 3"));
}

// --- copies of bytes to shared memory
// --------------------------------------------------------------

enum class LoadFault : std::uint8_t { none, no_wait, too_few_bytes, unaligned, over_a_store };

/// to[i] = from[i], by way of shared memory.
template <LoadFault fault>
__global__ void bulk_loads(float* to, const float* from) {
  auto* values = dynamic_shared<float>();
  auto* here = reinterpret_cast<MemoryBarrier*>(values + 64);
  const int i = int(threadIdx.x);
  if (i == 0) {
    barrier_init(here, 1);
    barrier_init_done();
    if (fault == LoadFault::over_a_store) store_pack<1>(values + 7, Pack<float, 1>{{7.0f}});
    constexpr unsigned kBytes = fault == LoadFault::too_few_bytes ? 200 : 256;
    barrier_arrive_expecting(here, kBytes);
    bulk_load(values, from + (fault == LoadFault::unaligned), kBytes, here);
  }
  __syncthreads();
  if (fault != LoadFault::no_wait) barrier_wait(here, 0);
  to[i] = values[i];
}

TEST_P(HopperEmulatorTest, BulkLoads) {
  alignas(16) float from[68];
  float to[64] = {};
  for (int i = 0; i < 68; ++i) from[i] = float(i);
  const auto error = [&](auto kernel) {
    return error_of([&] { launch({"an_op", 1, 64, 512, nullptr}, kernel, to, from); });
  };
  EXPECT_EQ(error(bulk_loads<LoadFault::none>), "");
  for (int i = 0; i < 64; ++i) EXPECT_EQ(to[i], from[i]);
  EXPECT_TRUE(contains(error(bulk_loads<LoadFault::no_wait>), "with copies to shared memory"));
  EXPECT_TRUE(contains(error(bulk_loads<LoadFault::too_few_bytes>), "a bulk copy of a wrong size"));
  EXPECT_TRUE(contains(error(bulk_loads<LoadFault::unaligned>), "a misaligned vector access"));
  EXPECT_TRUE(contains(error(bulk_loads<LoadFault::over_a_store>),
                       "a copy to what a thread stored without fence.proxy.async"));
}

// --- copies to global memory ---------------------------------------------------------------------

enum class BulkFault : std::uint8_t { none, no_proxy_fence, no_wait, turn_too_late };

/// to[i] = 3 i, by one copy and one that adds twice as much.
template <BulkFault fault>
__global__ void bulk_copies(float* to, std::int32_t* turns) {
  auto* from = dynamic_shared<float>();
  const int i = int(threadIdx.x);
  store_pack<1>(from + i, Pack<float, 1>{{float(i)}});
  store_pack<1>(from + 64 + i, Pack<float, 1>{{2.0f * float(i)}});
  if constexpr (fault != BulkFault::no_proxy_fence) fence_proxy_async();
  __syncthreads();
  if (i != 0) return;
  for (int turn = 0; turn < 2; ++turn) {
    wait_for_turn(turns, fault == BulkFault::turn_too_late ? turn + 1 : turn);
    if (turn == 0)
      bulk_store(to, from, 64 * sizeof(float));
    else
      bulk_add(to, from + 64, 64 * sizeof(float));
    bulk_commit();
    bulk_wait_read();
    from[64 * turn] = -1;  // read by now
    if (fault == BulkFault::no_wait) return;
    bulk_wait();
    end_turn(turns);
  }
}

TEST_P(HopperEmulatorTest, BulkCopies) {
  alignas(16) float to[64];
  std::int32_t turns = 0;
  const auto error = [&](auto kernel) {
    turns = 0;
    return error_of([&] { launch({"an_op", 1, 64, 512, nullptr}, kernel, to, &turns); });
  };
  EXPECT_EQ(error(bulk_copies<BulkFault::none>), "");
  for (int i = 0; i < 64; ++i) EXPECT_EQ(to[i], 3.0f * float(i));
  EXPECT_EQ(turns, 2);
  EXPECT_TRUE(contains(error(bulk_copies<BulkFault::no_proxy_fence>),
                       "a bulk copy of what a thread stored without fence.proxy.async"));
  EXPECT_TRUE(contains(error(bulk_copies<BulkFault::no_wait>), "with bulk copies under way"));
  EXPECT_TRUE(contains(error(bulk_copies<BulkFault::turn_too_late>), "a turn that no block"));
}

// --- registers and named barriers ----------------------------------------------------------------

/// Of three warpgroups that start with 168 each: 504 in all.
template <int copying, int computing>
__global__ void shares_registers() {
  if (threadIdx.x < kWarpgroup)
    fewer_registers<copying>();
  else
    more_registers<computing>();
}
__global__ void one_warp_gives_registers() {
  if (threadIdx.x < 32) fewer_registers<24>();
}
__global__ void half_a_warp_syncs() {
  if (threadIdx.x % 32 < 16) sync_warpgroups<1>();
}
__global__ void warpgroups_sync() {
  if (threadIdx.x < kWarpgroup)
    sync_warpgroups<1>();
  else
    sync_warpgroups<2>();
}

/// What the second warpgroup has done before the first goes on.
__global__ void one_warpgroup_arrives(int* seen) {
  auto* done = dynamic_shared<int>();
  if (threadIdx.x < kWarpgroup) {
    sync_warpgroups<1, 2 * kWarpgroup>();
    if (threadIdx.x == 0) *seen = *done;
  } else {
    if (threadIdx.x == kWarpgroup) *done = 7;
    arrive_warpgroups<1, 2 * kWarpgroup>();
  }
}

__global__ void nobody_waits() {
  if (threadIdx.x < kWarpgroup) arrive_warpgroups<1, 2 * kWarpgroup>();
}

TEST_P(HopperEmulatorTest, OneWarpgroupWaitsForAnother) {
  int seen = 0;
  launch({"an_op", 1, 2 * kWarpgroup, 64, nullptr}, one_warpgroup_arrives, &seen);
  EXPECT_EQ(seen, 7);
  EXPECT_TRUE(contains(error_of([&] {
                         launch({"an_op", 1, 2 * kWarpgroup, 64, nullptr}, nobody_waits);
                       }),
                       "arrivals at a named barrier that nobody waits for"));
}

TEST_P(HopperEmulatorTest, WarpgroupsShareRegisters) {
  const auto error = [](auto kernel, unsigned threads) {
    return error_of([&] { launch({"an_op", 1, threads, 0, nullptr}, kernel); });
  };
  EXPECT_EQ(error(shares_registers<24, 240>, 384), "");
  EXPECT_EQ(error(shares_registers<40, 232>, 384), "");
  EXPECT_TRUE(contains(error(shares_registers<40, 240>, 384), "was not reached by all"));
  EXPECT_TRUE(contains(error(shares_registers<20, 240>, 384), "24 to 256 in eights"));
  EXPECT_TRUE(contains(error(shares_registers<28, 240>, 384), "24 to 256 in eights"));
  EXPECT_TRUE(contains(error(shares_registers<176, 240>, 384), "dec to more registers"));
  EXPECT_TRUE(contains(error(one_warp_gives_registers, 384), "warps of one warpgroup"));
  EXPECT_EQ(error(warpgroups_sync, 256), "");
  EXPECT_TRUE(contains(error(half_a_warp_syncs, 128), "waits at bar.sync"));
}

}  // namespace
}  // namespace lacuna
