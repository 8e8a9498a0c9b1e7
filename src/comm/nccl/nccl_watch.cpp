#include "comm/nccl/nccl_watch.h"

#include <chrono>
#include <optional>

#include "comm/job_monitor.h"

namespace lacuna::nccl {
namespace {

// How often the device is asked: time limits are of seconds.
constexpr std::chrono::milliseconds kPoll{5};
// A rank that fails leaves the group, which the others notice at once. It also says why: longer
// than the monitor takes to pass that on.
constexpr std::chrono::milliseconds kOthersSayWhy{3000};

}  // namespace

Watch::Watch(Options options) : options_(std::move(options)), thread_([this] { run(); }) {}

Watch::~Watch() { end(); }

void Watch::end() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Watch::add(const Collective& c, Event begun, Event done) {
  {
    std::lock_guard lock(mutex_);
    items_.push_back({c, std::move(begun), std::move(done)});
  }
  wake_.notify_all();
}

void Watch::check() {
  std::lock_guard lock(mutex_);
  if (!error_.empty()) fail(error_);
}

bool Watch::failed() {
  std::lock_guard lock(mutex_);
  return !error_.empty();
}

void Watch::run() {
  // A thread starts on device 0, which is another rank's: asking there would take memory of it.
  use_device(options_.device);
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stopping_ || !items_.empty(); });
    if (stopping_) return;
    const Item item = std::move(items_.front());
    items_.pop_front();
    lock.unlock();
    std::string error;
    try {
      follow(item);
    } catch (const std::exception& e) {
      error = str(describe(item.c), " of group '", options_.group, "': ", e.what());
    }
    lock.lock();
    if (error.empty()) continue;
    error_ = error;
    if (options_.monitor && !wake_.wait_for(lock, kOthersSayWhy, [&] { return stopping_; })) {
      lock.unlock();
      options_.monitor->end_job(error, 1);  // does not return
    }
    return;
  }
}

/// Returns when it is done or the watch ends. Throws what goes wrong.
void Watch::follow(const Item& item) {
  std::optional<Activity> activity;  // from when it begins: it may be queued behind hours of work
  while (!item.done.reached()) {
    if (const std::string error = options_.asynchronous_error(); !error.empty()) fail(error);
    if (!activity && item.begun.reached()) {
      activity.emplace(options_.monitor, options_.limit_seconds, [this, &item] {
        return str(describe(item.c), " of group '", options_.group, "'");
      });
      activity->waits_for(options_.others);
    }
    std::unique_lock lock(mutex_);
    if (wake_.wait_for(lock, kPoll, [&] { return stopping_; })) return;
  }
}

}  // namespace lacuna::nccl
