#include "kernels/emulator/stream.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "kernels/cuda/device.h"
#include "kernels/cuda/stream.h"

namespace lacuna::emulator {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLate{2};

/// Shared by a stream, its thread and the events on it.
struct Queue {
  std::deque<std::function<void()>> work;
  std::uint64_t queued = 0, done = 0;  // so far
  std::uint64_t wanted = 0;            // somebody waits until so many are done
  bool tosses = true;                  // its coin, before the next work
  bool ends = false;
  std::exception_ptr error;
  std::condition_variable wake;  // its thread
};

// Of the process, guarding everything above too. Never destroyed: streams may outlive main().
struct World {
  std::mutex mutex;
  std::condition_variable progress;  // something is done
  std::set<std::shared_ptr<Queue>> queues;
  std::mt19937_64 coin{1};
};
World& world() {
  static auto* w = new World;
  return *w;
}

using Lock = std::unique_lock<std::mutex>;

/// Returns when `number` of a queue are done.
void wait_for(Lock& lock, Queue& q, std::uint64_t number) {
  if (q.wanted < number) {
    q.wanted = number;
    q.wake.notify_one();
  }
  world().progress.wait(lock, [&] { return q.done >= number; });
}

/// Returns when all that is queued is done; throws what went wrong, once.
void finish(Lock& lock, Queue& q) {
  wait_for(lock, q, q.queued);
  if (q.error) std::rethrow_exception(std::exchange(q.error, nullptr));
}

void add(Queue& q, std::function<void()> work) {
  q.work.push_back(std::move(work));
  ++q.queued;
  q.wake.notify_one();
}

/// A stream's thread.
void run(const std::shared_ptr<Queue>& q) {
  Lock lock(world().mutex);
  for (;;) {
    if (q->work.empty()) {
      if (q->ends) return;
      q->wake.wait(lock);
      q->tosses = true;
      continue;
    }
    if (std::exchange(q->tosses, false) && world().coin() % 2)
      q->wake.wait_for(lock, kLate, [&] { return q->wanted > q->done || q->ends; });
    std::function<void()> work = std::move(q->work.front());
    q->work.pop_front();
    if (!q->error) {
      lock.unlock();
      std::exception_ptr error;
      try {
        work();
      } catch (...) {
        error = std::current_exception();
      }
      work = nullptr;  // what it holds may be about streams itself
      lock.lock();
      q->error = error;
    }
    ++q->done;
    world().progress.notify_all();
  }
}

/// A point in a stream's work, and when it was reached.
struct Mark {
  std::shared_ptr<Queue> queue;
  std::uint64_t number;  // reached when so many are done
  Clock::time_point time{};
};

}  // namespace
}  // namespace lacuna::emulator

struct CUstream_st {
  std::shared_ptr<lacuna::emulator::Queue> queue = std::make_shared<lacuna::emulator::Queue>();
  std::thread thread{[q = queue] { lacuna::emulator::run(q); }};
};

struct CUevent_st {
  std::shared_ptr<lacuna::emulator::Mark> mark;  // also held by the work that reaches it
};

namespace lacuna {
namespace emulator {

void enqueue(CUstream_st* stream, std::function<void()> work) {
  if (!stream) return work();
  Queue& q = *stream->queue;
  Lock lock(world().mutex);
  add(q, std::move(work));
  if (each_call_waits()) finish(lock, q);
}

void finish_all_streams() {
  Lock lock(world().mutex);
  const auto queues = world().queues;
  for (const auto& q : queues) wait_for(lock, *q, q->queued);
}

}  // namespace emulator

using namespace emulator;

namespace {
thread_local int device_of_thread = 0;
}
int current_device() { return device_of_thread; }
void use_device(int index) { device_of_thread = index; }

Stream::Stream(Purpose) : stream_(new CUstream_st) {
  const Lock lock(world().mutex);
  world().queues.insert(stream_->queue);
}

Stream::~Stream() {
  {
    const Lock lock(world().mutex);
    stream_->queue->ends = true;
    stream_->queue->wake.notify_one();
    world().queues.erase(stream_->queue);
  }
  stream_->thread.join();
  delete stream_;
}

void Stream::synchronize(const char*) const {
  Lock lock(world().mutex);
  finish(lock, *stream_->queue);
}

Event::Event(CUstream_st* stream, Kind)
    : event_(new CUevent_st{std::make_shared<Mark>(stream->queue, 0)}) {
  Lock lock(world().mutex);
  add(*stream->queue, [mark = event_->mark] {
    const Lock at_work(world().mutex);
    mark->time = Clock::now();
    mark->queue->tosses = true;
  });
  event_->mark->number = stream->queue->queued;
}

Event::~Event() { delete event_; }

Event::Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}

Event& Event::operator=(Event&& other) noexcept {
  std::swap(event_, other.event_);
  return *this;
}

void Event::before(CUstream_st* stream) const {
  enqueue(stream, [mark = event_->mark] {
    Lock lock(world().mutex);
    wait_for(lock, *mark->queue, mark->number);
  });
}

bool Event::reached() const {
  const Lock lock(world().mutex);
  if (event_->mark->queue->error) std::rethrow_exception(event_->mark->queue->error);
  return event_->mark->queue->done >= event_->mark->number;
}

void Event::wait() const {
  Lock lock(world().mutex);
  wait_for(lock, *event_->mark->queue, event_->mark->number);
  if (event_->mark->queue->error) std::rethrow_exception(event_->mark->queue->error);
}

double Event::seconds_since(const Event& begin) const {
  const Lock lock(world().mutex);
  return std::chrono::duration<double>(event_->mark->time - begin.event_->mark->time).count();
}

}  // namespace lacuna
