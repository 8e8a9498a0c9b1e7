#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "core/machine.h"

namespace lacuna {
namespace {

// Training issues hundreds of small parallel loops per step; waking a sleeping thread costs more
// than many of them take. Spin this many times (tens of microseconds) before sleeping.
constexpr int kSpins = 4000;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

struct ThreadPool::State {
  std::vector<std::thread> workers;
  const std::function<void(int)>* task = nullptr;
  std::atomic<std::uint32_t> generation{0};
  std::atomic<std::uint32_t> unfinished{0};
  std::atomic<bool> stopping{false};
  std::mutex error_mutex;
  std::exception_ptr error;

  void call(int i) {
    try {
      (*task)(i);
    } catch (...) {
      std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
    }
  }

  template <class Value>
  static Value wait_while(std::atomic<Value>& a, Value old) {
    for (int spin = 0; spin < kSpins; ++spin) {
      if (const Value now = a.load(std::memory_order_acquire); now != old) return now;
      relax();
    }
    a.wait(old, std::memory_order_acquire);
    return a.load(std::memory_order_acquire);
  }

  void work(int i) {
    std::uint32_t seen = 0;
    for (;;) {
      const std::uint32_t now = wait_while(generation, seen);
      if (now == seen) continue;
      seen = now;
      if (stopping.load(std::memory_order_acquire)) return;
      call(i);
      if (unfinished.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished.notify_all();
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  const int n = threads > 0 ? threads : usable_cores();
  for (int i = 1; i < n; ++i) state_->workers.emplace_back([s = state_.get(), i] { s->work(i); });
}

ThreadPool::~ThreadPool() {
  state_->stopping.store(true, std::memory_order_release);
  state_->generation.fetch_add(1, std::memory_order_acq_rel);
  state_->generation.notify_all();
  for (std::thread& t : state_->workers) t.join();
}

int ThreadPool::size() const { return int(state_->workers.size()) + 1; }

void ThreadPool::run(const std::function<void(int)>& task) {
  State& s = *state_;
  s.task = &task;
  s.unfinished.store(std::uint32_t(s.workers.size()), std::memory_order_release);
  s.generation.fetch_add(1, std::memory_order_acq_rel);
  s.generation.notify_all();
  s.call(0);
  for (std::uint32_t left; (left = s.unfinished.load(std::memory_order_acquire)) != 0;)
    State::wait_while(s.unfinished, left);
  if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
}

void ThreadPool::for_ranges(std::int64_t n, std::int64_t grain,
                            const std::function<void(std::int64_t, std::int64_t)>& task) {
  if (n <= 0) return;
  const std::int64_t grains = (n + grain - 1) / grain;
  const std::int64_t parts = std::min<std::int64_t>(size(), grains);
  if (parts == 1) return task(0, n);
  run([&](int i) {
    if (i >= parts) return;
    const std::int64_t begin = grains * i / parts * grain;
    const std::int64_t end = std::min(n, grains * (i + 1) / parts * grain);
    if (begin < end) task(begin, end);
  });
}

void ThreadPool::for_each(std::int64_t n, const std::function<void(std::int64_t, int)>& task) {
  std::atomic<std::int64_t> next{0};
  run([&](int thread) {
    for (std::int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) task(i, thread);
  });
}

}  // namespace lacuna
