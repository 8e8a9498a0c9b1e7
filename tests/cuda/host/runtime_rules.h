#pragma once
#include <cuda_runtime.h>

#include <vector>

#include "tests/cuda/host/stand_ins.h"

namespace lacuna::testing {

inline constexpr std::size_t kBytes = 4096;

/// With a stream, and device memory of kBytes.
class RuntimeRules : public StandInTest {
 protected:
  RuntimeRules() {
    EXPECT_EQ(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0), cudaSuccess);
    EXPECT_EQ(cudaMalloc(&memory, kBytes), cudaSuccess);
    bytes = static_cast<char*>(memory);
  }
  ~RuntimeRules() override {
    EXPECT_EQ(cudaFree(memory), cudaSuccess);
    EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  }
  cudaError_t copy(void* to, const void* from, std::size_t n, cudaMemcpyKind kind) {
    return cudaMemcpyAsync(to, from, n, kind, stream);
  }
  std::vector<char> read(std::size_t n = kBytes) {
    std::vector<char> there(n);
    EXPECT_EQ(copy(there.data(), memory, n, cudaMemcpyDeviceToHost), cudaSuccess);
    return there;
  }
  /// The graph of what `work` captures on the stream; null where that was refused.
  template <class F>
  cudaGraph_t captured(F&& work, cudaError_t expected = cudaSuccess) {
    EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    work();
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), expected);
    (void)cudaGetLastError();
    return graph;
  }

  cudaStream_t stream = nullptr;
  void* memory = nullptr;
  char* bytes = nullptr;
};

}  // namespace lacuna::testing
