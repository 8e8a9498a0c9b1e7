#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace lacuna {

class JobMonitor;

/// Something this rank cannot finish without others, while this object lives: a collective, a
/// parallel write. When it makes no progress for `limit_seconds` (0: no limit) the monitor ends the
/// job, naming it and the ranks it waits for. Time during which the process was stopped does not
/// count.
class Activity {
 public:
  /// `describe` is called from another thread, when a message needs it.
  Activity(JobMonitor* monitor, double limit_seconds, std::function<std::string()> describe);
  ~Activity();
  Activity(const Activity&) = delete;
  Activity& operator=(const Activity&) = delete;

  /// Something came or went: the limit counts from now.
  void progressed() { progress_.fetch_add(1, std::memory_order_relaxed); }
  /// Which ranks (of all) it needs something from; said when it takes long.
  void waits_for(std::vector<int> ranks);
  /// All `size` ranks but `rank`.
  void waits_for_others(int rank, int size);

 private:
  friend class JobMonitor;
  JobMonitor* monitor_;
  double limit_;
  std::function<std::string()> describe_;
  std::atomic<std::uint64_t> progress_{0};
  std::mutex mutex_;
  std::vector<int> awaited_;
  std::uint64_t id_;
  // The monitor thread's own:
  std::uint64_t progress_seen_ = 0;
  double waited_ = 0;
};

/// One thread per rank that lets a job of many ranks end well: with one message, on every rank.
///
/// - A rank that fails tells rank 0, which prints "rank 3 of 8: message" (without the rank when all
///   of them say the same, as for a mistake in the command line) and aborts the job. When rank 0
///   does not answer, the rank that failed does it itself.
/// - When an Activity exceeds its limit, the ranks it waits for are asked what they are doing, and
///   the job ends with the answers. A rank that computes, or waits for another one itself, so
///   differs from one that is stopped or whose machine is gone.
///
/// What it sends goes over a communicator of its own. Its thread wakes some fifty times a second.
class JobMonitor {
 public:
  /// Collective over the world; MPI must be initialised with MPI_THREAD_MULTIPLE.
  JobMonitor();
  ~JobMonitor();
  JobMonitor(const JobMonitor&) = delete;
  JobMonitor& operator=(const JobMonitor&) = delete;

  /// Ends every rank, with exit code `code` and one message. Callable from any thread; does not
  /// return.
  [[noreturn]] void end_job(const std::string& message, int code);
  /// Returns when every rank has called it. Sleeps while it waits, without a limit of time.
  void wait_for_all();

 private:
  friend class Activity;
  void add(Activity* activity);
  void remove(Activity* activity);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lacuna
