#pragma once
#include <condition_variable>
#include <mutex>
#include <thread>

namespace lacuna {

/// While it lives, this process waits in MPI_Init, or in what follows until a JobMonitor takes
/// over, for the other ranks of its job. After `limit_seconds` (0: never) it prints which rank gave
/// up and ends with exit code 1, upon which the launcher ends the other ranks. Time during which
/// the process was stopped does not count. Higher ranks wait some seconds longer, so that one
/// message comes.
class StartupWatch {
 public:
  explicit StartupWatch(double limit_seconds);
  ~StartupWatch();
  StartupWatch(const StartupWatch&) = delete;
  StartupWatch& operator=(const StartupWatch&) = delete;

 private:
  void run(double limit_seconds);

  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace lacuna
