#include "kernels/cuda/stream.h"

#include <cuda_runtime.h>

#include <string>
#include <utility>

#include "core/check.h"

namespace lacuna {
namespace {

/// Throws Error(what: CUDA's reason), clearing the error so that nothing later is blamed for it.
void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  (void)cudaGetLastError();
  fail(str(what, ": ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")"));
}

}  // namespace

int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  return device;
}

void use_device(int index) { check(cudaSetDevice(index), "cudaSetDevice"); }

Stream::Stream(Purpose purpose) {
  int least = 0, greatest = 0;
  check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "cudaDeviceGetStreamPriorityRange");
  check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking,
                                     purpose == Purpose::communication ? greatest : least),
        "cudaStreamCreateWithPriority");
}

Stream::~Stream() { (void)cudaStreamDestroy(stream_); }

void Stream::synchronize(const char* op) const { check(cudaStreamSynchronize(stream_), op); }

Event::Event(CUstream_st* stream, Kind kind) {
  check(cudaEventCreateWithFlags(&event_,
                                 kind == Kind::time ? cudaEventDefault : cudaEventDisableTiming),
        "cudaEventCreate");
  check(cudaEventRecord(event_, stream), "cudaEventRecord");
}

Event::~Event() {
  if (event_) (void)cudaEventDestroy(event_);
}

Event::Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}

Event& Event::operator=(Event&& other) noexcept {
  std::swap(event_, other.event_);
  return *this;
}

void Event::before(CUstream_st* stream) const {
  check(cudaStreamWaitEvent(stream, event_, 0), "cudaStreamWaitEvent");
}

bool Event::reached() const {
  const cudaError_t state = cudaEventQuery(event_);
  if (state != cudaErrorNotReady) check(state, "cudaEventQuery");
  return state == cudaSuccess;
}

void Event::wait() const { check(cudaEventSynchronize(event_), "cudaEventSynchronize"); }

double Event::seconds_since(const Event& begin) const {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin.event_, event_), "cudaEventElapsedTime");
  return 1e-3 * double(milliseconds);
}

}  // namespace lacuna
