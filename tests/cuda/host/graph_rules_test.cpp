// Graphs by stream capture, of the stand-in of the CUDA runtime.
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/cuda/host/runtime_rules.h"

namespace lacuna::testing {
namespace {

using GraphRules = RuntimeRules;

TEST_F(GraphRules, AGraphDoesWhatWasCaptured) {
  cudaGraph_t graph = captured([&] {
    EXPECT_EQ(cudaMemsetAsync(memory, 'g', 4, stream), cudaSuccess);
    EXPECT_EQ(copy(bytes + 4, memory, 4, cudaMemcpyDeviceToDevice), cudaSuccess);
  });
  EXPECT_EQ(read(8), std::vector<char>(8, '\xff')) << "nothing was done while it was captured";
  cudaGraphExec_t instance = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&instance, graph, 0), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(cudaMemsetAsync(memory, 0, kBytes, stream), cudaSuccess);
    EXPECT_EQ(cudaGraphLaunch(instance, stream), cudaSuccess);
    EXPECT_EQ(read(8), std::vector<char>(8, 'g'));
  }
  EXPECT_EQ(cudaGraphExecDestroy(instance), cudaSuccess);
  EXPECT_TRUE(refused(cudaGraphLaunch(instance, stream), cudaErrorInvalidValue, "destroyed"));
  EXPECT_TRUE(refused(cudaGraphExecDestroy(instance), cudaErrorInvalidValue, "destroyed"));
  EXPECT_TRUE(
      refused(cudaGraphInstantiate(&instance, graph, 0), cudaErrorInvalidValue, "destroyed"));
}

TEST_F(GraphRules, CaptureForbids) {
  char host[4] = {};
  void* more = nullptr;
  cudaEvent_t before = nullptr;
  ASSERT_EQ(cudaEventCreateWithFlags(&before, cudaEventDefault), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(before, stream), cudaSuccess);
  const auto breaks = [&](cudaError_t expected, const char* text, auto&& call) {
    ::testing::AssertionResult result = ::testing::AssertionSuccess();
    EXPECT_EQ(captured([&] { result = refused(call(), expected, text); },
                       cudaErrorStreamCaptureInvalidated),
              nullptr);
    return result;
  };
  const auto unsupported = cudaErrorStreamCaptureUnsupported;
  const char* const text = "not permitted while a stream captures";
  EXPECT_TRUE(breaks(unsupported, text, [&] { return cudaMalloc(&more, 1); }));
  EXPECT_TRUE(breaks(unsupported, text, [&] { return cudaFree(memory); }));
  EXPECT_TRUE(breaks(unsupported, text, [&] { return cudaMallocHost(&more, 1); }));
  EXPECT_TRUE(breaks(unsupported, text, [&] { return cudaDeviceSynchronize(); }));
  EXPECT_TRUE(breaks(unsupported, text, [&] { return cudaEventQuery(before); }));
  EXPECT_TRUE(breaks(unsupported, text, [&] { return cudaEventSynchronize(before); }));
  EXPECT_TRUE(
      breaks(unsupported, "the stream captures", [&] { return cudaStreamSynchronize(stream); }));
  EXPECT_TRUE(breaks(unsupported, "pageable memory",
                     [&] { return copy(memory, host, 4, cudaMemcpyHostToDevice); }));
  EXPECT_TRUE(breaks(unsupported, "pageable memory",
                     [&] { return copy(host, memory, 4, cudaMemcpyDeviceToHost); }));
  EXPECT_TRUE(breaks(cudaErrorStreamCaptureIsolation, "outside of the stream's capture",
                     [&] { return cudaStreamWaitEvent(stream, before, 0); }));
  EXPECT_TRUE(breaks(cudaErrorCapturedEvent, "recorded in a capture", [&] {
    EXPECT_EQ(cudaEventRecord(before, stream), cudaSuccess);
    return cudaEventQuery(before);
  }));
  EXPECT_EQ(cudaEventDestroy(before), cudaSuccess);
  EXPECT_EQ(captured(
                [&] {
                  EXPECT_TRUE(refused(cudaMalloc(&more, 1), unsupported, text));
                  EXPECT_EQ(cudaMemsetAsync(memory, 0, 1, stream),
                            cudaErrorStreamCaptureInvalidated);
                },
                cudaErrorStreamCaptureInvalidated),
            nullptr);
  EXPECT_EQ(cudaMemsetAsync(memory, 'e', 1, stream), cudaSuccess) << "afterwards all is as before";
  EXPECT_EQ(read(1)[0], 'e');
}

TEST_F(GraphRules, CapturesBeginAndEndWhereTheyMay) {
  cudaGraph_t graph = nullptr;
  EXPECT_TRUE(refused(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeThreadLocal),
                      cudaErrorStreamCaptureUnsupported, "legacy"));
  EXPECT_TRUE(refused(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureUnmatched,
                      "no capture was begun"));
  graph = captured([&] {
    EXPECT_TRUE(refused(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
                        cudaErrorInvalidValue, "captures already"));
    std::thread([&] {
      cudaGraph_t other = nullptr;
      EXPECT_TRUE(refused(cudaStreamEndCapture(stream, &other), cudaErrorStreamCaptureWrongThread,
                          "another thread"));
      void* more = nullptr;  // the capture forbids this in its own thread alone
      EXPECT_EQ(cudaMalloc(&more, 1), cudaSuccess);
      EXPECT_EQ(cudaFree(more), cudaSuccess);
    }).join();
  });
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
  std::thread([&] {
    void* more = nullptr;
    EXPECT_TRUE(refused(cudaMalloc(&more, 1), cudaErrorStreamCaptureUnsupported, "captures"));
  }).join();
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
}

TEST_F(GraphRules, TheLegacyStreamSpoilsCapturesOfBlockingStreams) {
  cudaStream_t blocking = nullptr;
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamCreateWithPriority(&blocking, cudaStreamDefault, 0), cudaSuccess);
  EXPECT_EQ(cudaStreamBeginCapture(blocking, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  EXPECT_TRUE(refused(cudaMemsetAsync(memory, 0, 1, nullptr), cudaErrorStreamCaptureImplicit,
                      "legacy default stream"));
  EXPECT_EQ(cudaStreamEndCapture(blocking, &graph), cudaErrorStreamCaptureInvalidated);
  EXPECT_EQ(cudaStreamDestroy(blocking), cudaSuccess);
}

TEST_F(GraphRules, CapturesForkAndJoin) {
  cudaStream_t side = nullptr;
  cudaEvent_t fork = nullptr, join = nullptr;
  ASSERT_EQ(cudaStreamCreateWithPriority(&side, cudaStreamNonBlocking, 0), cudaSuccess);
  ASSERT_EQ(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming), cudaSuccess);
  ASSERT_EQ(cudaEventCreateWithFlags(&join, cudaEventDisableTiming), cudaSuccess);
  for (const bool joins : {true, false}) {
    EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    EXPECT_EQ(cudaMemsetAsync(memory, '1', 2, stream), cudaSuccess);
    EXPECT_EQ(cudaEventRecord(fork, stream), cudaSuccess);
    EXPECT_EQ(cudaStreamWaitEvent(side, fork, 0), cudaSuccess);
    EXPECT_EQ(cudaMemsetAsync(memory, '2', 1, side), cudaSuccess);
    EXPECT_EQ(cudaEventRecord(join, side), cudaSuccess);
    if (joins) {
      EXPECT_EQ(cudaStreamWaitEvent(stream, join, 0), cudaSuccess);
    }
    cudaGraph_t graph = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
    if (joins) {
      EXPECT_EQ(ended, cudaSuccess);
      cudaGraphExec_t instance = nullptr;
      EXPECT_EQ(cudaGraphInstantiate(&instance, graph, 0), cudaSuccess);
      EXPECT_EQ(cudaGraphLaunch(instance, stream), cudaSuccess);
      EXPECT_EQ(read(2), (std::vector<char>{'2', '1'}));
      EXPECT_EQ(cudaGraphExecDestroy(instance), cudaSuccess);
      EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
    } else {
      EXPECT_TRUE(refused(ended, cudaErrorStreamCaptureUnjoined, "was not waited for"));
    }
  }
  EXPECT_TRUE(refused(cudaStreamWaitEvent(stream, join, 0), cudaErrorCapturedEvent, "has ended"));
  EXPECT_EQ(cudaMemsetAsync(memory, '3', 1, side), cudaSuccess) << "it captures no longer";
  EXPECT_EQ(cudaStreamSynchronize(side), cudaSuccess);
  EXPECT_EQ(read(1)[0], '3');
  EXPECT_EQ(cudaEventDestroy(fork), cudaSuccess);
  EXPECT_EQ(cudaEventDestroy(join), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(side), cudaSuccess);
}

/// What no call can see, a replay meets: everything after it fails.
TEST_F(GraphRules, AGraphOutlivesItsMemory) {
  cudaGraph_t graph =
      captured([&] { EXPECT_EQ(cudaMemsetAsync(memory, 'g', 4, stream), cudaSuccess); });
  cudaGraphExec_t instance = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&instance, graph, 0), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  EXPECT_EQ(cudaFree(std::exchange(memory, nullptr)), cudaSuccess);
  EXPECT_EQ(cudaGraphLaunch(instance, stream), cudaSuccess);
  EXPECT_TRUE(refused(cudaStreamSynchronize(stream), cudaErrorIllegalAddress,
                      "4 bytes of device memory are gone"));
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaMemsetAsync(nullptr, 0, 1, stream), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaGraphExecDestroy(instance), cudaErrorIllegalAddress) << "it is destroyed";
  toolkit::start_machine();
  EXPECT_TRUE(only_violation("left over: 1 streams"));
}

}  // namespace
}  // namespace lacuna::testing
