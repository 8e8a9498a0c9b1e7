#pragma once
// For the .cpp files of this folder alone: shows CUDA's own interface.
#include <cuda_runtime.h>

#include <string>
#include <utility>

#include "core/check.h"

namespace lacuna::nccl {

/// Throws Error(what: CUDA's reason), clearing the error so that nothing later is blamed for it.
inline void check_cuda(cudaError_t error, const std::string& what) {
  if (error == cudaSuccess) return;
  (void)cudaGetLastError();
  fail(str(what, ": ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")"));
}

/// A point on a stream.
class Event {
 public:
  enum class Kind { order, time };
  /// Where `stream` is now. Those of kind `time` also say when that was.
  Event(cudaStream_t stream, Kind kind) {
    check_cuda(cudaEventCreateWithFlags(
                   &event_, kind == Kind::time ? cudaEventDefault : cudaEventDisableTiming),
               "cudaEventCreate");
    check_cuda(cudaEventRecord(event_, stream), "cudaEventRecord");
  }
  ~Event() {
    if (event_) (void)cudaEventDestroy(event_);
  }
  Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  Event& operator=(Event&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }

  /// What is queued on `stream` from now on runs after it.
  void before(cudaStream_t stream) const {
    check_cuda(cudaStreamWaitEvent(stream, event_, 0), "cudaStreamWaitEvent");
  }
  /// Whether the stream has come there. Throws what went wrong on the device.
  bool reached() const {
    const cudaError_t state = cudaEventQuery(event_);
    if (state != cudaErrorNotReady) check_cuda(state, "cudaEventQuery");
    return state == cudaSuccess;
  }
  /// Both reached and of kind `time`.
  double seconds_since(const Event& begin) const {
    float milliseconds = 0;
    check_cuda(cudaEventElapsedTime(&milliseconds, begin.event_, event_), "cudaEventElapsedTime");
    return 1e-3 * double(milliseconds);
  }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace lacuna::nccl
