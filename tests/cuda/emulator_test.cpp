#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/cuda/reduce.cuh"
#include "kernels/platform/emulated/device_memory.h"
#include "kernels/platform/stream.h"
#include "tests/cuda/emulator_orders.h"
#include "tests/support/support.h"

// Small kernels, right ones and wrong ones: does the emulator run the former in every order, and
// say what is wrong with the latter?

namespace lacuna {
namespace {

using testing::contains;
using testing::EmulatorTest;
using testing::error_of;
using testing::kOrders;
using testing::order_name;

INSTANTIATE_TEST_SUITE_P(Orders, EmulatorTest, ::testing::ValuesIn(kOrders), order_name);

__global__ void indices(int* out) {
  const int block = int(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
  const int thread = int(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
  out[block * int(blockDim.x * blockDim.y * blockDim.z) + thread] = block * 1000 + thread;
}

TEST_P(EmulatorTest, EveryThreadOfEveryBlockRunsOnce) {
  std::vector<int> out(std::size_t(2 * 3 * 2 * 4 * 3 * 2), -1);
  launch({"indices", {2, 3, 2}, {4, 3, 2}, 0, nullptr}, indices, out.data());
  for (int i = 0; i < int(out.size()); ++i) EXPECT_EQ(out[std::size_t(i)], i / 24 * 1000 + i % 24);
}

/// y[b] = the sum of the block's 96 values, twice over, through one shared array.
__global__ void sums(float* y, const float* x) {
  const float once = block_sum(x[blockIdx.x * 96 + threadIdx.x]);
  const float twice = block_sum(2 * x[blockIdx.x * 96 + threadIdx.x]);
  if (threadIdx.x == 5) y[blockIdx.x] = once + twice;
}

TEST_P(EmulatorTest, BlockSums) {
  std::vector<float> x(96 * 4), y(4);
  std::iota(x.begin(), x.end(), 0.0f);
  launch({"sums", 4, 96, 0, nullptr}, sums, y.data(), x.data());
  for (int b = 0; b < 4; ++b) EXPECT_EQ(y[std::size_t(b)], 3.0f * float(96 * 96 * b + 95 * 48));
}

/// Rotates each lane's number by one, and who holds an odd one.
__global__ void votes(int* rotated, unsigned* odd, int* any) {
  const int lane = int(threadIdx.x % 32);
  rotated[threadIdx.x] = __shfl_sync(~0u, int(threadIdx.x), (lane + 1) % 32);
  odd[threadIdx.x] = __ballot_sync(~0u, lane % 2);
  any[threadIdx.x] = __syncthreads_or(threadIdx.x == 63) + 2 * __syncthreads_or(0);
}

TEST_P(EmulatorTest, WarpFunctions) {
  std::vector<int> rotated(64), any(64);
  std::vector<unsigned> odd(64);
  launch({"votes", 1, 64, 0, nullptr}, votes, rotated.data(), odd.data(), any.data());
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ(rotated[std::size_t(i)], i / 32 * 32 + (i + 1) % 32);
    EXPECT_EQ(odd[std::size_t(i)], 0xaaaaaaaau);
    EXPECT_EQ(any[std::size_t(i)], 1);
  }
}

/// c = a b^T for one 16x16 and one 8x16 matrix, through shared memory and the tensor core; and a
/// transposed, as ldmatrix.trans hands it out.
__global__ void tensor_core(float* c, std::uint16_t* transposed, const BFloat16* a,
                            const BFloat16* b) {
  auto* shared = dynamic_shared<BFloat16>();
  BFloat16* at = shared;
  BFloat16* bt = shared + 16 * 16;
  cp_async_16(shared_address(at + threadIdx.x * 8), a + threadIdx.x * 8, 16);
  if (threadIdx.x < 16) cp_async_16(shared_address(bt + threadIdx.x * 8), b + threadIdx.x * 8, 16);
  cp_async_commit();
  cp_async_wait<0>();
  __syncwarp();
  const int lane = int(threadIdx.x), group = lane / 4, member = lane % 4;
  std::uint32_t fa[4], fb[4], ft[4];
  ldmatrix_x4<false>(fa, shared_address(at + lane % 16 * 16 + lane / 16 * 8));
  ldmatrix_x4<false>(fb, shared_address(bt + lane % 8 * 16 + lane / 8 % 2 * 8));
  ldmatrix_x4<true>(ft, shared_address(at + lane % 16 * 16 + lane / 16 * 8));
  float sum[4] = {};
  mma_bf16(sum, fa, fb[0], fb[1]);
  for (int i = 0; i < 4; ++i) c[(group + i / 2 * 8) * 8 + 2 * member + i % 2] = sum[i];
  // Matrix j of ft is the 8x8 block of a at rows 8 (j % 2), columns 8 (j / 2), transposed.
  for (int j = 0; j < 4; ++j)
    for (int i = 0; i < 2; ++i)
      transposed[(j / 2 * 8 + group) * 16 + j % 2 * 8 + 2 * member + i] =
          std::uint16_t(ft[j] >> (16 * i));
}

TEST_P(EmulatorTest, TensorCore) {
  std::vector<BFloat16> a(16 * 16), b(8 * 16);
  for (int i = 0; i < 256; ++i) a[std::size_t(i)] = to_bf16(float(i * 37 % 101 - 50));
  for (int i = 0; i < 128; ++i) b[std::size_t(i)] = to_bf16(float(i * 53 % 97 - 48));
  std::vector<float> c(16 * 8);
  std::vector<std::uint16_t> transposed(16 * 16);
  alignas(16) BFloat16 a16[256], b16[128];
  std::copy(a.begin(), a.end(), a16);
  std::copy(b.begin(), b.end(), b16);
  launch({"tensor_core", 1, 32, (256 + 128) * 2, nullptr}, tensor_core, c.data(), transposed.data(),
         a16, b16);
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      float sum = 0;  // of integers below 2^24: exact
      for (int k = 0; k < 16; ++k)
        sum += to_float(a[std::size_t(row * 16 + k)]) * to_float(b[std::size_t(column * 16 + k)]);
      EXPECT_EQ(c[std::size_t(row * 8 + column)], sum) << row << "," << column;
    }
    for (int column = 0; column < 16; ++column)
      EXPECT_EQ(transposed[std::size_t(row * 16 + column)], a[std::size_t(column * 16 + row)].bits);
  }
}

/// The first 5 elements of 8, then zeros.
__global__ void partial_copy(std::uint16_t* out, const std::uint16_t* in) {
  auto* shared = dynamic_shared<std::uint16_t>();
  cp_async_16(shared_address(shared), in, 10);
  cp_async_commit();
  cp_async_wait<0>();
  for (int i = 0; i < 8; ++i) out[i] = shared[i];
}

TEST_P(EmulatorTest, AsyncCopiesFillWithZeros) {
  alignas(16) const std::uint16_t in[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<std::uint16_t> out(8);
  launch({"partial_copy", 1, 1, 16, nullptr}, partial_copy, out.data(), in);
  EXPECT_EQ(out, (std::vector<std::uint16_t>{1, 2, 3, 4, 5, 0, 0, 0}));
}

// --- wrong kernels -------------------------------------------------------------------------------

__global__ void divergent_barrier() {
  if (threadIdx.x < 40) __syncthreads();
  __syncwarp();
}
__global__ void missing_lane() {
  if (threadIdx.x != 3) __shfl_xor_sync(~0u, 1, 1);
}
__global__ void two_functions() {
  if (threadIdx.x % 2)
    __syncwarp();
  else
    __ballot_sync(~0u, 1);
}
__global__ void foreign_mask() {
  if (threadIdx.x == 9) __shfl_sync(0xffu, 1, 0);
}
__global__ void misaligned(const float* x) { load_pack<4>(x + 1 + threadIdx.x); }
__global__ void copy_without_wait(const float* x) {
  cp_async_16(shared_address(dynamic_shared<float>()), x, 16);
  cp_async_commit();
}
__global__ void early_read(float* y, const float* x) {
  auto* shared = dynamic_shared<float>();
  cp_async_16(shared_address(shared), x, 16);
  cp_async_commit();
  *y = shared[0];
  cp_async_wait<0>();
}
__global__ void unwritten(float* y) { *y = dynamic_shared<float>()[0]; }

TEST_P(EmulatorTest, SaysWhatIsWrongWithAKernel) {
  const auto error = [](auto kernel, dim3 block, std::size_t shared, auto... arguments) {
    return error_of([&] { launch({"an_op", 1, block, shared, nullptr}, kernel, arguments...); });
  };
  alignas(16) const float x[8] = {};
  EXPECT_TRUE(contains(error(divergent_barrier, 64, 0),
                       "an_op: emulator: a barrier or warp function was not reached by all"));
  EXPECT_TRUE(contains(error(divergent_barrier, 64, 0), "waits at __syncthreads"));
  EXPECT_TRUE(contains(error(missing_lane, 32, 0), "was not reached by all its threads"));
  EXPECT_TRUE(contains(error(missing_lane, 32, 0), "waits at shuffle"));
  EXPECT_TRUE(contains(error(two_functions, 32, 0), "call different warp functions"));
  EXPECT_TRUE(contains(error(foreign_mask, 32, 0), "a lane is not in the mask it gave"));
  EXPECT_TRUE(contains(error(misaligned, 1, 0, x), "a misaligned vector access"));
  EXPECT_TRUE(contains(error(copy_without_wait, 1, 16, x), "asynchronous copies under way"));
  EXPECT_TRUE(contains(error_of([] {
                         launch({"an_op", 1, 2048, 0, nullptr}, two_functions);
                       }),
                       "an_op: a block of 2048x1x1 threads"));
  // And it still works.
  std::vector<int> out(32, -1);
  launch({"indices", 1, 32, 0, nullptr}, indices, out.data());
  EXPECT_EQ(out[31], 31);
}

TEST_P(EmulatorTest, WhatAGpuLeavesUndefinedIsNan) {
  float y = 0;
  launch({"unwritten", 1, 1, 4, nullptr}, unwritten, &y);
  EXPECT_TRUE(std::isnan(y));
  alignas(16) const float x[4] = {1, 2, 3, 4};
  y = 0;
  launch({"early_read", 1, 1, 16, nullptr}, early_read, &y, x);
  EXPECT_TRUE(std::isnan(y));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(DeviceMemoryDeathTest, HostCodeCannotTouchIt) {
  auto* memory = static_cast<volatile int*>(emulator::allocate_device_memory(4));
  {
    const emulator::DeviceAccess access;
    EXPECT_EQ(memory[0], 0);
    memory[0] = 5;
    EXPECT_EQ(memory[0], 5);
    EXPECT_DEATH(memory[1024] = 1, "");  // beyond the end
  }
  EXPECT_DEATH(memory[0] = 1, "");
  emulator::release_device_memory(const_cast<int*>(memory), 4);
}
#endif

#if defined(__SANITIZE_ADDRESS__)
__global__ void beyond_shared() { dynamic_shared<float>()[threadIdx.x] = 1; }
__global__ void beyond_global(float* x) { x[threadIdx.x] = 1; }

TEST(AddressSanitizerDeathTest, SeesKernelsLeaveTheirMemory) {
  EXPECT_DEATH(launch({"an_op", 1, 32, 31 * 4, nullptr}, beyond_shared), "heap-buffer-overflow");
  auto* memory = static_cast<float*>(emulator::allocate_device_memory(31 * 4));
  launch({"an_op", 1, 31, 0, nullptr}, beyond_global, memory);
  EXPECT_DEATH(launch({"an_op", 1, 32, 0, nullptr}, beyond_global, memory), "use-after-poison");
  emulator::release_device_memory(memory, 31 * 4);
}
#endif

#if defined(__SANITIZE_THREAD__)
extern "C" const char* __tsan_default_options() { return "atexit_sleep_ms=0"; }

/// block_sum without its second barrier: the next call's parts may overwrite what a slow thread
/// still has to read. In every order the emulator knows the result is right.
template <bool correct>
__global__ void sums_again(float* y, const float* x) {
  __shared__ float parts[2];
  float total = 0;
  for (int turn = 0; turn < 2; ++turn) {
    const float mine = warp_sum(x[threadIdx.x]);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = mine;
    __syncthreads();
    total += parts[0] + parts[1];
    if (correct) __syncthreads();
  }
  y[threadIdx.x] = total;
}
template <bool correct>
__global__ void neighbours(float* y, const float* x) {
  auto* shared = dynamic_shared<float>();
  shared[threadIdx.x] = x[threadIdx.x];
  if (correct) __syncthreads();
  y[threadIdx.x] = shared[63 - threadIdx.x];
}
template <bool correct>
__global__ void tile(float* y, const float* x) {
  auto* shared = dynamic_shared<float>();
  float sum = 0;
  for (int turn = 0; turn < 2; ++turn) {
    if (threadIdx.x < 16) {
      cp_async_16(shared_address(shared + 4 * threadIdx.x), x + 4 * threadIdx.x, 16);
      cp_async_commit();
      cp_async_wait<0>();
    }
    __syncthreads();
    sum += shared[63 - threadIdx.x];
    if (correct) __syncthreads();
  }
  y[threadIdx.x] = sum;
}
/// Lanes that hand a value on through shared memory, with __syncwarp or without.
template <bool correct>
__global__ void within_warp(float* y, const float* x) {
  auto* shared = dynamic_shared<float>();
  shared[threadIdx.x] = x[threadIdx.x];
  if (correct)
    __syncwarp();
  else
    __shfl_sync(~0u, 0, 0);  // a rendezvous, but not one that orders memory
  y[threadIdx.x] = shared[threadIdx.x ^ 1u];
}

using TwoArrays = void (*)(float*, const float*);
class ThreadSanitizerDeathTest : public EmulatorTest {
 protected:
  static void run(TwoArrays kernel) {
    alignas(16) float x[64], y[64] = {};
    std::fill(x, x + 64, 1.0f);
    launch({"an_op", 2, 64, 256, nullptr}, kernel, y, x);
  }
  /// The exit code of a process that did nothing but this: ThreadSanitizer makes it 66.
  static void races(TwoArrays kernel) {
    EXPECT_EXIT((run(kernel), std::exit(0)), ::testing::ExitedWithCode(66), "data race");
  }
  static void is_clean(TwoArrays kernel) {
    EXPECT_EXIT((run(kernel), std::exit(0)), ::testing::ExitedWithCode(0), "");
  }
};
INSTANTIATE_TEST_SUITE_P(Orders, ThreadSanitizerDeathTest, ::testing::ValuesIn(kOrders),
                         order_name);

TEST_P(ThreadSanitizerDeathTest, SeesARemovedBarrier) {
  races(sums_again<false>);
  races(neighbours<false>);
  races(tile<false>);
  races(within_warp<false>);
}
TEST_P(ThreadSanitizerDeathTest, IsSilentAboutTheSameKernelsWithIt) {
  is_clean(sums_again<true>);
  is_clean(neighbours<true>);
  is_clean(tile<true>);
  is_clean(within_warp<true>);
}
#endif

__global__ void leaves_at_once(int* x) {
  if (threadIdx.x == 0) __syncthreads();
  if (threadIdx.x == 1) x[0] = __shfl_sync(3u, 1, 0);
}
__global__ void writes(int* x, int value) { x[threadIdx.x] = value; }

// As with a GPU: what goes wrong on a stream is found by who waits for it.
TEST(EmulatedStream, ThrowsAtTheWait) {
  const Stream stream(Stream::Purpose::computation);
  std::vector<int> x(4);
  launch({"faulty", 1, 4, 0, stream}, leaves_at_once, x.data());
  launch({"later", 1, 4, 0, stream}, writes, x.data(), 1);
  const Event end(stream, Event::Kind::order);
  EXPECT_TRUE(contains(error_of([&] { end.wait(); }), "faulty: emulator: "));
  EXPECT_TRUE(contains(error_of([&] { (void)end.reached(); }), "faulty: emulator: "));
  EXPECT_TRUE(contains(error_of([&] { stream.synchronize("test"); }), "faulty: emulator: "));
  EXPECT_EQ(x, (std::vector<int>{0, 0, 0, 0})) << "work after a fault was done";
  launch({"again", 1, 4, 0, stream}, writes, x.data(), 2);
  stream.synchronize("test");
  EXPECT_EQ(x, (std::vector<int>{2, 2, 2, 2}));
}

}  // namespace
}  // namespace lacuna
