// Does the stand-in of the CUDA runtime do what is asked of it rightly, and refuse the rest?
#include "tests/cuda/host/runtime_rules.h"

#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/platform/intrinsics.h"

namespace lacuna::testing {
namespace {

// --- memory --------------------------------------------------------------------------------------

TEST_F(RuntimeRules, CopiesBothWays) {
  EXPECT_EQ(read(), std::vector<char>(kBytes, '\xff')) << "what was never written";
  std::vector<char> x(kBytes, 'x');
  EXPECT_EQ(copy(memory, x.data(), kBytes, cudaMemcpyHostToDevice), cudaSuccess);
  x.assign(kBytes, 'y');  // at once: ordinary memory has been read
  EXPECT_EQ(read(), std::vector<char>(kBytes, 'x'));
  EXPECT_EQ(cudaMemsetAsync(memory, 'z', 10, stream), cudaSuccess);
  EXPECT_EQ(copy(bytes + 100, memory, 20, cudaMemcpyDeviceToDevice), cudaSuccess);
  EXPECT_EQ(std::string(read().data() + 100, 20), "zzzzzzzzzzxxxxxxxxxx");
}

TEST_F(RuntimeRules, CopiesRows) {
  const std::string text = "abc-def-ghi-";
  EXPECT_EQ(cudaMemcpy2DAsync(memory, 8, text.data(), 4, 3, 3, cudaMemcpyHostToDevice, stream),
            cudaSuccess);
  std::string back(9, ' ');
  EXPECT_EQ(cudaMemcpy2DAsync(back.data(), 3, memory, 8, 3, 3, cudaMemcpyDeviceToHost, stream),
            cudaSuccess);
  EXPECT_EQ(back, "abcdefghi");
  EXPECT_EQ(read()[3], '\xff');
}

#if !defined(__SANITIZE_THREAD__)  // which sees that this is a race
/// Pinned memory is read and written when the stream comes to it: sooner or later.
TEST_F(RuntimeRules, PinnedMemoryIsCopiedLate) {
  void* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(&pinned, 1), cudaSuccess);
  char& x = *static_cast<char*>(pinned);
  int late = 0;
  for (int i = 0; i < 50; ++i) {
    x = 'a';
    EXPECT_EQ(copy(memory, pinned, 1, cudaMemcpyHostToDevice), cudaSuccess);
    x = 'b';
    late += read(1)[0] == 'b';
  }
  EXPECT_GT(late, 0);
  EXPECT_EQ(cudaFreeHost(pinned), cudaSuccess);
}
#endif

TEST_F(RuntimeRules, RefusesWrongCopies) {
  std::vector<char> host(2 * kBytes);
  const auto is = [&](cudaError_t returned, const char* text) {
    return refused(returned, cudaErrorInvalidValue, text);
  };
  EXPECT_TRUE(is(copy(memory, host.data(), kBytes + 1, cudaMemcpyHostToDevice),
                 "the destination goes on for 4097 bytes, beyond the end of its allocation"));
  EXPECT_TRUE(is(copy(host.data(), bytes + 1, kBytes, cudaMemcpyDeviceToHost), "beyond the end"));
  EXPECT_TRUE(is(copy(memory, host.data(), 4, cudaMemcpyDeviceToDevice),
                 "the source is not in device memory"));
  EXPECT_TRUE(is(copy(memory, host.data(), 4, cudaMemcpyDeviceToHost),
                 "the destination is in device memory, against the direction"));
  EXPECT_TRUE(is(copy(host.data(), memory, 4, cudaMemcpyHostToHost), "the source is in device"));
  EXPECT_TRUE(is(copy(bytes + 2, memory, 4, cudaMemcpyDeviceToDevice), "overlap"));
  EXPECT_TRUE(
      is(cudaMemcpy2DAsync(memory, 64, host.data(), 8, 8, 65, cudaMemcpyHostToDevice, stream),
         "beyond the end"));
  EXPECT_TRUE(is(cudaMemsetAsync(host.data(), 0, 4, stream), "not in device memory"));
  EXPECT_TRUE(is(cudaMemsetAsync(memory, 0, kBytes + 1, stream), "beyond the end"));
  EXPECT_TRUE(
      refused(cudaMemcpy2DAsync(memory, 8, host.data(), 4, 5, 2, cudaMemcpyHostToDevice, stream),
              cudaErrorInvalidPitchValue, "rows of 5 bytes at pitches of 8 and 4"));
  EXPECT_TRUE(refused(copy(memory, host.data(), 4, cudaMemcpyKind(9)),
                      cudaErrorInvalidMemcpyDirection, "direction 9"));
  EXPECT_EQ(copy(nullptr, nullptr, 0, cudaMemcpyHostToDevice), cudaSuccess);
}

TEST_F(RuntimeRules, RefusesToFreeWhatItDidNotAllocate) {
  int on_stack = 0;
  void* gone = nullptr;
  ASSERT_EQ(cudaMalloc(&gone, 16), cudaSuccess);
  EXPECT_EQ(cudaFree(gone), cudaSuccess);
  const auto is = [&](cudaError_t returned) {
    return refused(returned, cudaErrorInvalidValue, "not memory of that kind, or freed before");
  };
  EXPECT_TRUE(is(cudaFree(gone)));
  EXPECT_TRUE(is(cudaFree(&on_stack)));
  EXPECT_TRUE(is(cudaFree(bytes + 1)));
  EXPECT_TRUE(is(cudaFreeHost(memory)));
  EXPECT_TRUE(refused(copy(gone, &on_stack, 4, cudaMemcpyHostToDevice), cudaErrorInvalidValue,
                      "not in device memory (or it was freed)"));
  EXPECT_EQ(cudaFree(nullptr), cudaSuccess);
}

TEST_F(RuntimeRules, MemoryComesToAnEnd) {
  std::size_t free = 0, total = 0;
  EXPECT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  EXPECT_EQ(free + kBytes, total);
  void* more = nullptr;
  EXPECT_EQ(cudaMalloc(&more, free + 1), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "it is told once";
}

// --- streams and events --------------------------------------------------------------------------

TEST_F(RuntimeRules, RefusesStreamsThatAreGone) {
  cudaStream_t gone = nullptr;
  ASSERT_EQ(cudaStreamCreateWithPriority(&gone, cudaStreamNonBlocking, -1), cudaSuccess);
  EXPECT_EQ(cudaMemsetAsync(memory, 'd', 1, gone), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(gone), cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const auto is = [&](cudaError_t returned) {
    return refused(returned, cudaErrorInvalidResourceHandle, "destroyed");
  };
  EXPECT_TRUE(is(cudaStreamDestroy(gone)));
  EXPECT_TRUE(is(cudaStreamSynchronize(gone)));
  EXPECT_TRUE(is(cudaMemsetAsync(memory, 0, 1, gone)));
  EXPECT_TRUE(refused(cudaStreamCreateWithPriority(&gone, 7, 0), cudaErrorInvalidValue, "flags"));
}

/// A stream that is destroyed still does what it was given; nobody waits for it.
TEST_F(RuntimeRules, ADestroyedStreamFinishesItsWork) {
  cudaStream_t other = nullptr;
  cudaEvent_t event = nullptr;
  ASSERT_EQ(cudaStreamCreateWithPriority(&other, cudaStreamNonBlocking, 0), cudaSuccess);
  ASSERT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
  EXPECT_EQ(cudaMemsetAsync(memory, 'o', kBytes, other), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(event, other), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(other), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(stream, event, 0), cudaSuccess);
  EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
  EXPECT_EQ(read(), std::vector<char>(kBytes, 'o'));
}

TEST_F(RuntimeRules, EventsAreReachedAndTimed) {
  cudaEvent_t begin = nullptr, end = nullptr, untimed = nullptr;
  ASSERT_EQ(cudaEventCreateWithFlags(&begin, cudaEventDefault), cudaSuccess);
  ASSERT_EQ(cudaEventCreateWithFlags(&end, cudaEventDefault), cudaSuccess);
  ASSERT_EQ(cudaEventCreateWithFlags(&untimed, cudaEventDisableTiming), cudaSuccess);
  float milliseconds = 0;
  EXPECT_TRUE(refused(cudaEventElapsedTime(&milliseconds, begin, end),
                      cudaErrorInvalidResourceHandle, "never recorded"));
  EXPECT_TRUE(refused(cudaEventQuery(begin), cudaSuccess, "never recorded"));
  EXPECT_TRUE(refused(cudaEventSynchronize(begin), cudaSuccess, "never recorded"));
  EXPECT_TRUE(refused(cudaStreamWaitEvent(stream, begin, 0), cudaSuccess, "never recorded"));
  int early = 0;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(cudaEventRecord(begin, stream), cudaSuccess);
    for (int j = 0; j < 5; ++j) EXPECT_EQ(cudaMemsetAsync(memory, j, kBytes, stream), cudaSuccess);
    EXPECT_EQ(cudaEventRecord(end, stream), cudaSuccess);
    early += cudaEventQuery(end) == cudaErrorNotReady;
    EXPECT_EQ(cudaEventSynchronize(end), cudaSuccess);
    EXPECT_EQ(cudaEventQuery(end), cudaSuccess);
    EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin, end), cudaSuccess);
    EXPECT_NEAR(milliseconds, 5e-3, 1e-6);  // a microsecond each, on the stand-in's clock
  }
  EXPECT_GT(early, 0);
  EXPECT_EQ(cudaGetLastError(), cudaErrorNotReady);
  EXPECT_EQ(cudaEventRecord(untimed, stream), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(untimed), cudaSuccess);
  EXPECT_TRUE(refused(cudaEventElapsedTime(&milliseconds, begin, untimed),
                      cudaErrorInvalidResourceHandle, "does not time"));
  for (cudaEvent_t event : {begin, end, untimed}) EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
  EXPECT_TRUE(refused(cudaEventRecord(end, stream), cudaErrorInvalidResourceHandle, "destroyed"));
  EXPECT_TRUE(refused(cudaEventDestroy(end), cudaErrorInvalidResourceHandle, "destroyed"));
}

TEST_F(RuntimeRules, DevicesAreKeptApart) {
  EXPECT_EQ(cudaFree(std::exchange(memory, nullptr)), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(std::exchange(stream, nullptr)), cudaSuccess);
  toolkit::start_machine({.devices = {toolkit::sm_90(), toolkit::sm_80()}});
  cudaEvent_t event = nullptr;
  ASSERT_EQ(cudaEventCreateWithFlags(&event, cudaEventDefault), cudaSuccess);
  EXPECT_TRUE(refused(cudaSetDevice(2), cudaErrorInvalidDevice, "there is no device 2"));
  EXPECT_EQ(cudaSetDevice(1), cudaSuccess);
  ASSERT_EQ(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0), cudaSuccess);
  ASSERT_EQ(cudaMalloc(&memory, 16), cudaSuccess);
  EXPECT_TRUE(
      refused(cudaEventRecord(event, stream), cudaErrorInvalidResourceHandle, "of another device"));
  int here = 1, elsewhere = 1;
  EXPECT_EQ(cudaGetDevice(&here), cudaSuccess);
  std::thread([&] { EXPECT_EQ(cudaGetDevice(&elsewhere), cudaSuccess); }).join();
  EXPECT_EQ(here, 1);
  EXPECT_EQ(elsewhere, 0) << "a thread begins with device 0";
  EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
}

#if !defined(__SANITIZE_THREAD__)  // which sees the race with the other stream
/// It waits for streams that are not non-blocking, and for no others.
TEST_F(RuntimeRules, TheLegacyStreamIsOrderedWithBlockingStreams) {
  cudaStream_t blocking = nullptr;
  ASSERT_EQ(cudaStreamCreateWithPriority(&blocking, cudaStreamDefault, 0), cudaSuccess);
  int after_blocking = 0, after_other = 0;
  for (int i = 0; i < 20; ++i)
    for (cudaStream_t s : {blocking, stream}) {
      EXPECT_EQ(cudaMemsetAsync(memory, 's', 1, s), cudaSuccess);
      EXPECT_EQ(cudaMemsetAsync(memory, 'n', 1, nullptr), cudaSuccess);
      EXPECT_EQ(cudaStreamSynchronize(s), cudaSuccess);
      (s == blocking ? after_blocking : after_other) += read(1)[0] == 'n';
    }
  EXPECT_EQ(after_blocking, 20);
  EXPECT_LT(after_other, 20);
  EXPECT_EQ(cudaStreamDestroy(blocking), cudaSuccess);
}
#endif

// --- kernels -------------------------------------------------------------------------------------

__global__ void stores(char* to, char value) { to[threadIdx.x] = value; }
__global__ void too_far_from_the_barrier() {
  if (threadIdx.x == 0) __syncthreads();
  __syncwarp();
}

TEST_F(RuntimeRules, LaunchesOfWrongSizes) {
  const auto start = [&](dim3 block, std::size_t shared) {
    lacuna::start({"an_op", 1, block, shared, stream}, stores, bytes, 'k');
    return cudaGetLastError();
  };
  const auto* kernel = reinterpret_cast<const void*>(stores);
  EXPECT_EQ(start(4, 0), cudaSuccess);
  EXPECT_EQ(read(5), (std::vector<char>{'k', 'k', 'k', 'k', '\xff'}));
  EXPECT_TRUE(refused(start(1025, 0), cudaErrorInvalidConfiguration, "1025x1x1 threads"));
  EXPECT_EQ(start(4, 47 * 1024), cudaSuccess);
  EXPECT_TRUE(refused(start(4, 48 * 1024), cudaErrorInvalidValue, "without asking for them"));
  const auto allow = [&](int n) {
    return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, n);
  };
  EXPECT_EQ(allow(100 * 1024), cudaSuccess);
  EXPECT_EQ(start(4, 100 * 1024), cudaSuccess);
  EXPECT_TRUE(refused(start(4, 100 * 1024 + 1), cudaErrorInvalidValue, "more than were asked for"));
  EXPECT_EQ(allow(226 * 1024), cudaSuccess);
  EXPECT_TRUE(refused(allow(226 * 1024 + 1), cudaErrorInvalidValue, "a block can have 232448"));
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
}

TEST_F(RuntimeRules, AFaultyKernelEndsEverything) {
  lacuna::start({"an_op", 1, 64, 0, stream}, too_far_from_the_barrier);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "nobody has waited yet";
  EXPECT_TRUE(refused(cudaStreamSynchronize(stream), cudaErrorLaunchFailure, "an_op: emulator: "));
  EXPECT_EQ(cudaMemsetAsync(memory, 0, 1, stream), cudaErrorLaunchFailure);
  toolkit::start_machine();
  EXPECT_TRUE(only_violation("left over"));
}

}  // namespace
}  // namespace lacuna::testing
