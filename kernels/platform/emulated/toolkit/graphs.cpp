#include <algorithm>

#include "kernels/platform/emulated/toolkit/state.h"

// Graphs of the CUDA runtime, by stream capture. A graph's work runs in the order in which it was
// captured.

namespace lacuna::toolkit {
namespace {

struct Recorded {
  std::vector<Work> work;
  double microseconds;
};

/// Whether everything captured comes before what the capture's first stream would do next.
bool is_joined(const Capture& capture) {
  const auto origin = capture.members.find(capture.origin);
  for (const auto& [stream, frontier] : capture.members) {
    const auto own = frontier.find(stream);
    if (own == frontier.end() || own->second == 0) continue;  // nothing captured there
    const auto known = origin->second.find(stream);
    if (known == origin->second.end() || known->second < own->second) return false;
  }
  return true;
}

/// Its streams take work again.
void end(const std::shared_ptr<Capture>& capture) {
  std::vector<cudaStream_t> streams;
  {
    const Lock lock(state().mutex);
    state().captures.erase(capture);
    capture->ended = true;
    for (auto& [stream, s] : state().streams)
      if (s.capture == capture) {
        s.capture.reset();
        streams.push_back(stream);
      }
  }
  for (cudaStream_t stream : streams) emulator::record_stream(stream, nullptr);
}

cudaError_t check_exists(const char* function, const void* graph) {
  Lock lock(state().mutex);
  const bool exists = state().graphs.count(graph);
  lock.unlock();
  return exists ? cudaSuccess
                : refuse(cudaErrorInvalidValue, function, ": no graph, or one that was destroyed");
}

}  // namespace
}  // namespace lacuna::toolkit

using namespace lacuna;
using namespace lacuna::toolkit;

struct CUgraph_st {
  std::shared_ptr<const Recorded> recorded;
};
struct CUgraphExec_st {
  std::shared_ptr<const Recorded> recorded;
};

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return call("cudaStreamBeginCapture", [&] {
    if (!stream)
      return refuse(cudaErrorStreamCaptureUnsupported,
                    "cudaStreamBeginCapture: the legacy default stream");
    if (const cudaError_t error = check_stream("cudaStreamBeginCapture", stream)) return error;
    if (captures(stream))
      return refuse(cudaErrorInvalidValue, "cudaStreamBeginCapture: the stream captures already");
    const auto capture = std::make_shared<Capture>();
    capture->origin = stream;
    capture->mode = mode;
    capture->thread = std::this_thread::get_id();
    {
      const Lock lock(state().mutex);
      capture->members[stream];
      state().streams[stream].capture = capture;
      state().captures.insert(capture);
    }
    join_capture(stream, capture);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return call("cudaStreamEndCapture", [&] {
    *graph = nullptr;
    std::shared_ptr<Capture> capture;
    {
      const Lock lock(state().mutex);
      const auto found = state().streams.find(stream);
      if (found != state().streams.end()) capture = found->second.capture;
    }
    if (!capture || capture->origin != stream)
      return refuse(cudaErrorStreamCaptureUnmatched,
                    "cudaStreamEndCapture: no capture was begun in this stream");
    if (capture->mode != cudaStreamCaptureModeRelaxed &&
        capture->thread != std::this_thread::get_id())
      return refuse(cudaErrorStreamCaptureWrongThread,
                    "cudaStreamEndCapture: the capture was begun by another thread");
    end(capture);
    if (capture->invalid) return cudaErrorStreamCaptureInvalidated;
    if (!is_joined(*capture))
      return refuse(cudaErrorStreamCaptureUnjoined,
                    "cudaStreamEndCapture: work of another stream was not waited for");
    *graph = new CUgraph_st{std::make_shared<const Recorded>(
        Recorded{std::move(capture->work), capture->microseconds})};
    const Lock lock(state().mutex);
    state().graphs.insert(*graph);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return call_to_destroy("cudaGraphDestroy", [&] {
    if (const cudaError_t error = check_exists("cudaGraphDestroy", graph)) return error;
    const Lock lock(state().mutex);
    state().graphs.erase(graph);
    delete graph;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* instance, cudaGraph_t graph,
                                 unsigned long long flags) {
  return call("cudaGraphInstantiate", [&] {
    if (const cudaError_t error = check_exists("cudaGraphInstantiate", graph)) return error;
    if (flags != 0) return refuse(cudaErrorInvalidValue, "cudaGraphInstantiate: flags ", flags);
    *instance = new CUgraphExec_st{graph->recorded};
    const Lock lock(state().mutex);
    state().graphs.insert(*instance);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t instance) {
  return call_to_destroy("cudaGraphExecDestroy", [&] {
    if (const cudaError_t error = check_exists("cudaGraphExecDestroy", instance)) return error;
    const Lock lock(state().mutex);
    state().graphs.erase(instance);
    delete instance;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t instance, cudaStream_t stream) {
  return call("cudaGraphLaunch", [&] {
    if (const cudaError_t error = check_exists("cudaGraphLaunch", instance)) return error;
    if (const cudaError_t error = check_stream("cudaGraphLaunch", stream)) return error;
    queue(stream, instance->recorded->microseconds, [] {});
    for (const Work& work : instance->recorded->work) emulator::enqueue(stream, work);
    return cudaSuccess;
  });
}
