#include "kernels/platform/stream.h"

#include <chrono>
#include <utility>

#include "kernels/platform/emulated/counters.h"
#include "kernels/platform/emulated/queue.h"

struct CUevent_st {
  lacuna::emulator::Mark mark;
};

namespace lacuna {
namespace {
thread_local int device_of_thread = 0;
}

int current_device() { return device_of_thread; }
void use_device(int index) { device_of_thread = index; }

Stream::Stream(Purpose) : stream_(emulator::open_stream()) {}

// Its work may be about what its owner destroys next.
Stream::~Stream() {
  try {
    emulator::finish_stream(stream_);
  } catch (const std::exception&) {  // nobody waited to hear of it
  }
  emulator::close_stream(stream_);
}

void Stream::synchronize(const char*) const {
  ++emulator::counters.host_waits;
  emulator::finish_stream(stream_);
}

Event::Event(CUstream_st* stream, Kind) : event_(new CUevent_st{emulator::Mark(stream)}) {}

Event::~Event() { delete event_; }

Event::Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}

Event& Event::operator=(Event&& other) noexcept {
  std::swap(event_, other.event_);
  return *this;
}

void Event::before(CUstream_st* stream) const { event_->mark.before(stream); }

bool Event::reached() const { return event_->mark.reached(); }

void Event::wait() const {
  ++emulator::counters.host_waits;
  event_->mark.wait();
}

double Event::seconds_since(const Event& begin) const {
  return std::chrono::duration<double>(event_->mark.time() - begin.event_->mark.time()).count();
}

}  // namespace lacuna
