#include "kernels/platform/stream.h"

#include <utility>

#include "kernels/platform/gpu/cuda_error.h"

namespace lacuna {
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
  if (state == cudaErrorNotReady) {
    (void)cudaGetLastError();  // is not to be found by the next check_launch()
    return false;
  }
  check(state, "cudaEventQuery");
  return true;
}

void Event::wait() const { check(cudaEventSynchronize(event_), "cudaEventSynchronize"); }

double Event::seconds_since(const Event& begin) const {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin.event_, event_), "cudaEventElapsedTime");
  return 1e-3 * double(milliseconds);
}

}  // namespace lacuna
