#pragma once
// For the .cpp files of this folder alone.
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/collective.h"
#include "kernels/platform/stream.h"

namespace lacuna {

class JobMonitor;

namespace nccl {

/// A thread that watches the collectives of one communicator, of which the caller only knows that
/// they are queued: from when one begins on the device it must end within the limit, and NCCL must
/// report no error (a peer that is gone, a broken link). Else the job ends, naming the collective;
/// after an error some seconds later, so that a peer that failed can say why.
class Watch {
 public:
  struct Options {
    int device = 0;
    JobMonitor* monitor = nullptr;  // null: errors are thrown by check() alone, without limit
    double limit_seconds = 600;     // 0: none
    std::string group;
    std::vector<int> others;  // of the group, as ranks of the world
    /// What NCCL found wrong since, empty if nothing; called from the thread.
    std::function<std::string()> asynchronous_error;
  };
  explicit Watch(Options options);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// `c` runs on the stream between the two.
  void add(const Collective& c, Event begun, Event done);
  /// Throws Error when something went wrong.
  void check();
  bool failed();
  /// Watches nothing any more, and asks for no errors.
  void end();

 private:
  struct Item {
    Collective c;
    Event begun, done;
  };
  void run();
  void follow(const Item& item);

  const Options options_;
  std::mutex mutex_;  // of the four below
  std::condition_variable wake_;
  std::deque<Item> items_;
  bool stopping_ = false;
  std::string error_;
  std::thread thread_;
};

}  // namespace nccl
}  // namespace lacuna
