#include "kernels/platform/emulated/queue.h"

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

#include "kernels/platform/emulated/counters.h"
#include "kernels/platform/stream.h"

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
  Recorder recorder;             // or null
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
      if (q->ends) break;
      q->wake.wait(lock);
      q->tosses = true;
      continue;
    }
    if (std::exchange(q->tosses, false) && world().coin() % 2) {
      ++counters.late_starts;
      q->wake.wait_for(lock, kLate, [&] { return q->wanted > q->done || q->ends; });
    }
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
  world().queues.erase(q);
}

}  // namespace
}  // namespace lacuna::emulator

struct CUstream_st {
  std::shared_ptr<lacuna::emulator::Queue> queue = std::make_shared<lacuna::emulator::Queue>();
};

namespace lacuna::emulator {

void enqueue(CUstream_st* stream, std::function<void()> work) {
  if (!stream) return work();
  Queue& q = *stream->queue;
  Lock lock(world().mutex);
  if (const Recorder recorder = q.recorder) {
    lock.unlock();
    return recorder(std::move(work));
  }
  add(q, std::move(work));
  if (each_call_waits()) finish(lock, q);
}

void finish_all_streams() {
  Lock lock(world().mutex);
  const auto queues = world().queues;
  for (const auto& q : queues) wait_for(lock, *q, q->queued);
}

CUstream_st* open_stream() {
  auto* stream = new CUstream_st;
  {
    const Lock lock(world().mutex);
    world().queues.insert(stream->queue);
  }
  std::thread([q = stream->queue] { run(q); }).detach();
  return stream;
}

void close_stream(CUstream_st* stream) {
  {
    const Lock lock(world().mutex);
    stream->queue->ends = true;
    stream->queue->wake.notify_one();
  }
  delete stream;
}

void finish_stream(CUstream_st* stream) {
  Lock lock(world().mutex);
  finish(lock, *stream->queue);
}

void record_stream(CUstream_st* stream, Recorder recorder) {
  const Lock lock(world().mutex);
  stream->queue->recorder = std::move(recorder);
}

struct Mark::State {
  std::shared_ptr<Queue> queue;
  std::uint64_t number = 0;  // reached when so many are done
  Clock::time_point time{};
};

Mark::Mark(CUstream_st* stream) : state_(std::make_shared<State>()) {
  const Lock lock(world().mutex);
  state_->queue = stream->queue;
  add(*stream->queue, [state = state_] {
    const Lock at_work(world().mutex);
    state->time = Clock::now();
    state->queue->tosses = true;
  });
  state_->number = stream->queue->queued;
}

void Mark::before(CUstream_st* stream) const {
  enqueue(stream, [state = state_] {
    Lock lock(world().mutex);
    wait_for(lock, *state->queue, state->number);
  });
}

bool Mark::reached() const {
  const Lock lock(world().mutex);
  if (state_->queue->error) std::rethrow_exception(state_->queue->error);
  return state_->queue->done >= state_->number;
}

void Mark::wait() const {
  Lock lock(world().mutex);
  wait_for(lock, *state_->queue, state_->number);
  if (state_->queue->error) std::rethrow_exception(state_->queue->error);
}

std::chrono::steady_clock::time_point Mark::time() const {
  const Lock lock(world().mutex);
  return state_->time;
}

}  // namespace lacuna::emulator
