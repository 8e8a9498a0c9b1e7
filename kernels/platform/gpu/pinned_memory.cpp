#include "kernels/platform/pinned_memory.h"

#include <cuda_runtime.h>

#include "kernels/platform/gpu/cuda_error.h"
#include "kernels/platform/stream.h"

namespace lacuna {

PinnedMemory::PinnedMemory(std::int64_t bytes) : bytes_(bytes) {
  void* memory = nullptr;
  check(cudaMallocHost(&memory, std::size_t(bytes)), "cuda: pinned memory");
  data_ = static_cast<std::byte*>(memory);
}

PinnedMemory::~PinnedMemory() { (void)cudaFreeHost(data_); }

void copy_to_pinned(CUstream_st* stream, const char* op, std::byte* to, const void* from,
                    std::int64_t bytes) {
  check(cudaMemcpyAsync(to, from, std::size_t(bytes), cudaMemcpyDeviceToHost, stream), op);
  if (each_call_waits()) check(cudaStreamSynchronize(stream), op);
}

void copy_from_pinned(CUstream_st* stream, const char* op, void* to, const std::byte* from,
                      std::int64_t bytes) {
  check(cudaMemcpyAsync(to, from, std::size_t(bytes), cudaMemcpyHostToDevice, stream), op);
  if (each_call_waits()) check(cudaStreamSynchronize(stream), op);
}

}  // namespace lacuna
