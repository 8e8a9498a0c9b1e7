#pragma once
#include <cuda_runtime.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/check.h"
#include "kernels/platform/device.h"
#include "kernels/platform/emulated/queue.h"
#include "kernels/platform/emulated/toolkit/toolkit.h"

// What the stand-ins' files share. Functions that may wait for a stream are called without the
// lock: its work takes it, too.

namespace lacuna::toolkit {

enum class Kind : std::uint8_t { pageable, pinned, device };
struct Block {
  std::size_t bytes;
  Kind kind;
  int device;
};

using Work = std::function<void()>;
/// How much of each stream's captured work is done before something else.
using Frontier = std::map<cudaStream_t, std::size_t>;
struct Capture {
  cudaStream_t origin;
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  bool invalid = false, ended = false;
  std::vector<Work> work;  // in the order of the calls, which is one that dependencies allow
  double microseconds = 0;
  std::map<cudaStream_t, Frontier> members;  // what comes before what is captured next
};

struct StreamState {
  int device;
  bool blocking;     // ordered with the legacy default stream
  double clock = 0;  // what has been queued took so many microseconds
  std::shared_ptr<Capture> capture;
};

struct State {
  std::mutex mutex;
  Machine machine;
  std::vector<std::string> violations;
  std::map<std::string, std::int64_t, std::less<>> calls;
  cudaError_t fault = cudaSuccess;  // what every later call returns
  std::map<std::uintptr_t, Block> blocks;
  std::map<cudaStream_t, StreamState> streams;
  std::set<cudaEvent_t> events;
  std::set<std::shared_ptr<Capture>> captures;        // that have not ended
  std::set<const void*> graphs, descriptors;          // those that exist
  std::map<const void*, std::size_t> dynamic_shared;  // allowed, of kernels
};
State& state();
using Lock = std::unique_lock<std::mutex>;

/// What the device does wrong, thrown by the work on a stream.
struct IllegalAddress : std::runtime_error {
  using runtime_error::runtime_error;
};

void note_violation(const std::string& what);
/// A broken rule.
template <class Code, class... Parts>
Code refuse(Code error, const Parts&... parts) {
  note_violation(str(parts...));
  return error;
}

void count_call(const char* function);
cudaError_t fault();
/// Remembers what every later call returns.
cudaError_t set_fault(const std::exception& e);
cudaError_t set_last_error(cudaError_t error);

/// The body of a function of the runtime.
template <class F>
cudaError_t call(const char* function, F&& body) {
  count_call(function);
  cudaError_t error = fault();
  if (error == cudaSuccess) error = body();
  return error == cudaSuccess ? error : set_last_error(error);
}

/// Of one that destroys something: that is done after a fault, too.
template <class F>
cudaError_t call_to_destroy(const char* function, F&& body) {
  count_call(function);
  const cudaError_t error = body();
  if (error != cudaSuccess) return set_last_error(error);
  return fault() == cudaSuccess ? cudaSuccess : set_last_error(fault());
}

int device_of_thread();
/// Refuses what may not be called while a stream captures; that ends the capture.
cudaError_t check_no_capture(const char* function);
/// Whether work can be queued on the stream.
cudaError_t check_stream(const char* function, cudaStream_t stream);
bool captures(cudaStream_t stream);
/// What `stream` is given from now on becomes part of the capture.
void join_capture(cudaStream_t stream, const std::shared_ptr<Capture>& capture);
/// On a stream that passed check_stream.
void queue(cudaStream_t stream, double microseconds, Work work);
/// Returns when the stream's work is done.
cudaError_t finish(cudaStream_t stream);

/// The block that holds [p, p + bytes); null where there is none. `p` may lie in one that is too
/// small: `touched` says.
std::optional<Block> block_of(const void* p, std::size_t bytes, bool* touched = nullptr);
/// Throws IllegalAddress unless it is device memory.
void require_device_memory(const char* function, const void* p, std::size_t bytes);

}  // namespace lacuna::toolkit
