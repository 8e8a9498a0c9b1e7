#include <algorithm>

#include "kernels/platform/emulated/toolkit/events.h"
#include "kernels/platform/emulated/toolkit/state.h"

// Streams and events of the CUDA runtime.

namespace lacuna::toolkit {

cudaError_t check_no_capture(const char* function) {
  const auto me = std::this_thread::get_id();
  Lock lock(state().mutex);
  for (const auto& capture : state().captures) {
    const bool mine = capture->thread == me && capture->mode != cudaStreamCaptureModeRelaxed;
    if (!mine && capture->mode != cudaStreamCaptureModeGlobal) continue;
    capture->invalid = true;
    lock.unlock();
    return refuse(cudaErrorStreamCaptureUnsupported, function,
                  ": not permitted while a stream captures");
  }
  return cudaSuccess;
}

bool captures(cudaStream_t stream) {
  const Lock lock(state().mutex);
  const auto found = state().streams.find(stream);
  return found != state().streams.end() && found->second.capture;
}

namespace {

/// The legacy default stream's work runs after that of every stream that is not non-blocking.
cudaError_t finish_blocking_streams() {
  std::vector<cudaStream_t> blocking;
  {
    const Lock lock(state().mutex);
    for (const auto& [stream, s] : state().streams)
      if (s.blocking && s.device == device_of_thread()) blocking.push_back(stream);
  }
  for (cudaStream_t stream : blocking)
    if (const cudaError_t error = finish(stream)) return error;
  return cudaSuccess;
}

cudaError_t check_legacy_stream(const char* function) {
  {
    Lock lock(state().mutex);
    for (const auto& [stream, s] : state().streams) {
      if (!s.blocking || !s.capture) continue;
      s.capture->invalid = true;
      lock.unlock();
      return refuse(cudaErrorStreamCaptureImplicit, function,
                    ": the legacy default stream, while a blocking stream captures");
    }
  }
  return finish_blocking_streams();
}

constexpr int kLeastPriority = 0, kGreatestPriority = -5;

}  // namespace

cudaError_t check_stream(const char* function, cudaStream_t stream) {
  if (!stream) return check_legacy_stream(function);
  Lock lock(state().mutex);
  const auto found = state().streams.find(stream);
  if (found == state().streams.end()) {
    lock.unlock();
    return refuse(cudaErrorInvalidResourceHandle, function,
                  ": not a stream, or one that was destroyed");
  }
  const auto& capture = found->second.capture;
  return capture && capture->invalid ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
}

void queue(cudaStream_t stream, double microseconds, Work work) {
  if (stream) {
    const Lock lock(state().mutex);
    StreamState& s = state().streams[stream];
    (s.capture ? s.capture->microseconds : s.clock) += microseconds;
  }
  emulator::enqueue(stream, std::move(work));
}

cudaError_t finish(cudaStream_t stream) {
  if (!stream) return finish_blocking_streams();
  try {
    emulator::finish_stream(stream);
    return cudaSuccess;
  } catch (const std::exception& e) {
    return set_fault(e);
  }
}

void join_capture(cudaStream_t stream, const std::shared_ptr<Capture>& capture) {
  emulator::record_stream(stream, [capture, stream](Work work) {
    const Lock lock(state().mutex);
    capture->work.push_back(std::move(work));
    ++capture->members[stream][stream];
  });
}

}  // namespace lacuna::toolkit

using namespace lacuna;
using namespace lacuna::toolkit;

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  return call("cudaDeviceGetStreamPriorityRange", [&] {
    *least = kLeastPriority;
    *greatest = kGreatestPriority;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceSynchronize() {
  return call("cudaDeviceSynchronize", [&] {
    if (const cudaError_t error = check_no_capture("cudaDeviceSynchronize")) return error;
    std::vector<cudaStream_t> all;
    {
      const Lock lock(state().mutex);
      for (const auto& [stream, s] : state().streams)
        if (s.device == device_of_thread()) all.push_back(stream);
    }
    for (cudaStream_t stream : all)
      if (const cudaError_t error = finish(stream)) return error;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned int flags, int) {
  return call("cudaStreamCreateWithPriority", [&] {
    if (flags != cudaStreamDefault && flags != cudaStreamNonBlocking)
      return refuse(cudaErrorInvalidValue, "cudaStreamCreateWithPriority: flags ", flags);
    *stream = emulator::open_stream();
    const Lock lock(state().mutex);
    state().streams[*stream] = {device_of_thread(), flags == cudaStreamDefault, 0, nullptr};
    return cudaSuccess;
  });
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return call_to_destroy("cudaStreamDestroy", [&] {
    Lock lock(state().mutex);
    const auto found = state().streams.find(stream);
    if (found == state().streams.end() || found->second.capture) {
      if (found != state().streams.end()) found->second.capture->invalid = true;
      lock.unlock();
      return refuse(cudaErrorInvalidResourceHandle,
                    "cudaStreamDestroy: not a stream, one that captures, or destroyed before");
    }
    state().streams.erase(found);
    lock.unlock();
    emulator::close_stream(stream);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return call("cudaStreamSynchronize", [&] {
    if (const cudaError_t error = check_stream("cudaStreamSynchronize", stream)) return error;
    if (captures(stream)) {
      {
        const Lock lock(state().mutex);
        state().streams[stream].capture->invalid = true;
      }
      return refuse(cudaErrorStreamCaptureUnsupported,
                    "cudaStreamSynchronize: the stream captures");
    }
    return finish(stream);
  });
}

namespace {

/// An event of the capture orders what `stream` captures next.
void wait_in_capture(cudaStream_t stream, const CUevent_st& event) {
  bool joins = false;
  {
    const Lock lock(state().mutex);
    joins = !std::exchange(state().streams[stream].capture, event.capture);
    Frontier& before = event.capture->members[stream];
    for (const auto& [other, count] : event.frontier)
      before[other] = std::max(before[other], count);
  }
  if (joins) join_capture(stream, event.capture);
}

/// Whether the event can be asked about from the host.
cudaError_t check_event(const char* function, cudaEvent_t event, bool host) {
  {
    const Lock lock(state().mutex);
    if (!state().events.count(event)) event = nullptr;
  }
  if (!event)
    return refuse(cudaErrorInvalidResourceHandle, function,
                  ": not an event, or one that was destroyed");
  if (!host) return cudaSuccess;
  if (event->capture) {
    event->capture->invalid = true;
    return refuse(cudaErrorCapturedEvent, function, ": an event recorded in a capture");
  }
  return check_no_capture(function);
}

/// As the real functions: nothing to wait for. But nobody means that.
cudaError_t never_recorded(const char* function) {
  return refuse(cudaSuccess, function, ": an event that was never recorded");
}

cudaError_t ask(const char* function, cudaEvent_t event,
                const std::function<cudaError_t(const emulator::Mark&)>& about) {
  if (const cudaError_t error = check_event(function, event, true)) return error;
  if (!event->recorded) return never_recorded(function);
  if (!event->mark) return cudaSuccess;
  try {
    return about(*event->mark);
  } catch (const std::exception& e) {
    return set_fault(e);
  }
}

}  // namespace

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int flags) {
  return call("cudaEventCreateWithFlags", [&] {
    if (flags != cudaEventDefault && flags != cudaEventDisableTiming)
      return refuse(cudaErrorInvalidValue, "cudaEventCreateWithFlags: flags ", flags);
    *event = new CUevent_st{flags == cudaEventDefault, device_of_thread()};
    const Lock lock(state().mutex);
    state().events.insert(*event);
    return cudaSuccess;
  });
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return call_to_destroy("cudaEventDestroy", [&] {
    if (const cudaError_t error = check_event("cudaEventDestroy", event, false)) return error;
    {
      const Lock lock(state().mutex);
      state().events.erase(event);
    }
    delete event;
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return call("cudaEventRecord", [&] {
    if (const cudaError_t error = check_event("cudaEventRecord", event, false)) return error;
    if (const cudaError_t error = check_stream("cudaEventRecord", stream)) return error;
    event->recorded = true;
    event->mark.reset();
    event->capture.reset();
    if (!stream) return cudaSuccess;
    Lock lock(state().mutex);
    const StreamState& s = state().streams[stream];
    if (s.device != event->device) {
      lock.unlock();
      return refuse(cudaErrorInvalidResourceHandle,
                    "cudaEventRecord: the event is of another device than the stream");
    }
    event->microseconds = s.clock;
    if ((event->capture = s.capture)) {
      event->frontier = s.capture->members[stream];
      return cudaSuccess;
    }
    lock.unlock();
    event->mark.emplace(stream);
    return cudaSuccess;
  });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return call("cudaEventQuery", [&] {
    return ask("cudaEventQuery", event, [](const emulator::Mark& mark) {
      return mark.reached() ? cudaSuccess : cudaErrorNotReady;
    });
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return call("cudaEventSynchronize", [&] {
    return ask("cudaEventSynchronize", event, [](const emulator::Mark& mark) {
      mark.wait();
      return cudaSuccess;
    });
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  return call("cudaEventElapsedTime", [&] {
    for (cudaEvent_t event : {begin, end}) {
      if (const cudaError_t error = check_event("cudaEventElapsedTime", event, true)) return error;
      if (!event->recorded || !event->times)
        return refuse(cudaErrorInvalidResourceHandle, "cudaEventElapsedTime: an event that ",
                      event->recorded ? "does not time" : "was never recorded");
      if (event->mark && !event->mark->reached())
        return refuse(cudaErrorNotReady, "cudaEventElapsedTime: an event that was not waited for");
    }
    *milliseconds = float(1e-3 * (end->microseconds - begin->microseconds));
    return cudaSuccess;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags) {
  return call("cudaStreamWaitEvent", [&] {
    const char* const name = "cudaStreamWaitEvent";
    if (const cudaError_t error = check_event(name, event, false)) return error;
    if (const cudaError_t error = check_stream(name, stream)) return error;
    if (flags != 0) return refuse(cudaErrorInvalidValue, name, ": flags ", flags);
    if (!event->recorded) return never_recorded(name);
    if (!stream) return event->mark ? (event->mark->wait(), cudaSuccess) : cudaSuccess;
    std::shared_ptr<Capture> capture;
    {
      const Lock lock(state().mutex);
      StreamState& s = state().streams[stream];
      capture = s.capture;
      if (!capture && !event->capture) s.clock = std::max(s.clock, event->microseconds);
    }
    if (event->capture && event->capture->ended)
      return refuse(cudaErrorCapturedEvent, name, ": an event of a capture that has ended");
    if (capture && event->capture != capture) {
      capture->invalid = true;
      return refuse(event->capture ? cudaErrorStreamCaptureMerge : cudaErrorStreamCaptureIsolation,
                    name, ": the event was recorded outside of the stream's capture");
    }
    if (event->capture) {
      wait_in_capture(stream, *event);
    } else if (event->mark) {
      event->mark->before(stream);
    }
    return cudaSuccess;
  });
}
