#pragma once
#include <chrono>
#include <functional>
#include <memory>

struct CUstream_st;

// Streams, played by a thread each. A GPU runs what is queued at some time between the call and the
// moment it is waited for; here a stream that was idle, or has come to an event, tosses a coin
// whether to go on at once, or as late as it may: when a host or another stream waits for it, or
// after some milliseconds, for those who wait elsewhere. So work that should wait for another
// stream, or a host that should wait for the device, and does not, soon gives wrong results.
//
// When work fails, the stream's later work is left out, and finish_stream() throws the error.
//
// Under LACUNA_CUDA_SYNC=1 each call waits for its work, as with a GPU: for debuggers.

namespace lacuna::emulator {

/// Queues `work` on `stream`. Null, the stream of tests that launch kernels themselves: does it
/// now.
void enqueue(CUstream_st* stream, std::function<void()> work);

/// Returns when all streams of this process are done, as cudaFree does.
void finish_all_streams();

// --- for what gives streams and events their interface: kernels/platform/emulated/stream.cpp, and
// --- kernels/platform/emulated/toolkit in tests of the files that call CUDA

CUstream_st* open_stream();
/// Returns at once; what is queued is still done.
void close_stream(CUstream_st* stream);
/// Returns when everything queued so far is done. Throws what went wrong, once.
void finish_stream(CUstream_st* stream);

using Recorder = std::function<void(std::function<void()> work)>;
/// From now on `recorder` takes what is queued, and nothing of it is done; null: as before.
void record_stream(CUstream_st* stream, Recorder recorder);

/// A point in a stream's work.
class Mark {
 public:
  /// After what is queued on `stream` now.
  explicit Mark(CUstream_st* stream);

  /// What is queued on `stream` from now on runs after this point.
  void before(CUstream_st* stream) const;
  /// Whether the work has come there. Throws what went wrong on the stream.
  bool reached() const;
  /// Returns when it has.
  void wait() const;
  /// When that was.
  std::chrono::steady_clock::time_point time() const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // also held by the work that reaches it
};

}  // namespace lacuna::emulator
