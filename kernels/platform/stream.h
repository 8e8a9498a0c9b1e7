#pragma once
#include <cstdint>
#include <cstdlib>
#include <string_view>

struct CUstream_st;  // *cudaStream_t
struct CUevent_st;   // *cudaEvent_t

namespace lacuna {

// Streams and events, for the device and for communicators. Implemented twice:
// kernels/platform/gpu/stream.cpp asks the CUDA runtime, kernels/platform/emulated/stream.cpp plays
// them with a thread for each stream. What goes wrong is thrown as an Error.

/// The device that this thread's calls are about; 0 in a new thread.
int current_device();
void use_device(int index);

/// LACUNA_CUDA_SYNC=1 in the environment: every call waits for its work, so that an error names the
/// op at fault.
inline bool each_call_waits() {
  static const bool waits = [] {
    const char* value = std::getenv("LACUNA_CUDA_SYNC");
    return value && std::string_view(value) != "" && std::string_view(value) != "0";
  }();
  return waits;
}

/// Work queued on a device: done in the order of the calls, beside what other streams do.
class Stream {
 public:
  /// Kernels of a stream for communication begin first: other ranks wait for them.
  enum class Purpose : std::uint8_t { computation, communication, transfer };
  explicit Stream(Purpose purpose);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator CUstream_st*() const { return stream_; }
  /// Returns when everything queued so far is done. `op` begins the message of an Error.
  void synchronize(const char* op) const;

 private:
  CUstream_st* stream_ = nullptr;
};

/// A point in a stream's work.
class Event {
 public:
  enum class Kind : std::uint8_t { order, time };
  /// After what is queued on `stream` now. Those of kind `time` also say when that was.
  Event(CUstream_st* stream, Kind kind);
  ~Event();
  Event(Event&& other) noexcept;
  Event& operator=(Event&& other) noexcept;

  /// What is queued on `stream` from now on runs after this point.
  void before(CUstream_st* stream) const;
  /// Whether the work has come there. Throws what went wrong on the device.
  bool reached() const;
  /// Returns when it has.
  void wait() const;
  /// Both reached and of kind `time`.
  double seconds_since(const Event& begin) const;

 private:
  CUevent_st* event_ = nullptr;
};

}  // namespace lacuna
