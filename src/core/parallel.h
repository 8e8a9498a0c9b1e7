#pragma once
#include <cstdint>
#include <functional>
#include <memory>

namespace lacuna {

/// A fixed team of threads, the caller among them. Work is cut by index, never stolen in an order
/// that could change a result. Not reentrant: a task must not call run() on the same pool.
class ThreadPool {
 public:
  /// `threads` in all; 0 means every core this process may use (core/machine.h).
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;
  /// Calls task(i) for i in [0, size()), each on its own thread; returns when all have. The first
  /// exception is rethrown here.
  void run(const std::function<void(int)>& task);
  /// Cuts [0, n) into one contiguous range per thread, of a multiple of `grain` but for the last:
  /// task(begin, end). The cut depends on n, grain and size() alone.
  void for_ranges(std::int64_t n, std::int64_t grain,
                  const std::function<void(std::int64_t, std::int64_t)>& task);
  /// Calls task(i, thread) for i in [0, n), items taken in order by whichever thread is free. For
  /// items of unequal cost that write to places of their own.
  void for_each(std::int64_t n, const std::function<void(std::int64_t, int)>& task);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lacuna
