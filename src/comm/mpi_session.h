#pragma once
#include <functional>
#include <memory>
#include <string>

#include "comm/job_monitor.h"

namespace lacuna {

/// MPI, for as long as this object lives. Initialised only when a launcher (mpirun, srun) started
/// the process: a plain run is one rank and touches no MPI. At its end ranks wait for each other.
class MpiSession {
 public:
  /// Throws Error when MPI cannot be initialised or lacks MPI_THREAD_MULTIPLE. When the ranks do
  /// not come together within `timeout_seconds` (0: no limit), the job ends with a message.
  explicit MpiSession(double timeout_seconds = 0);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Watches what needs all ranks; null when there is one.
  JobMonitor* monitor() const { return monitor_.get(); }

  /// This process among those of its machine.
  struct Node {
    int local_rank = 0;  // 0 is the lowest rank of the machine
    int local_size = 1;
    int index = 0;  // of the machine, in the order of their lowest ranks
    int machines = 1;
    int threads = 0;  // this rank's share of the cores, for ThreadPool; 0: all
  };
  /// Where this rank runs. A core that several ranks may use (launchers bind ranks to a core, a
  /// socket or not at all) is shared out evenly among them. Collective.
  Node node() const;

 private:
  bool initialised_ = false;
  double timeout_seconds_;
  int rank_ = 0, size_ = 1;
  std::unique_ptr<JobMonitor> monitor_;
};

/// What main() hands its work to: runs `body` and returns its exit code. What it throws ends the
/// program with one line on standard error and exit code 2 for a UsageError, else 1. On many ranks
/// the line is printed once, as "rank 3 of 8: …" (without that when all ranks say the same), and
/// every rank ends, also those that wait for this one. `timeout_seconds` is MpiSession's.
int run_ranks(const std::function<int(MpiSession&)>& body, double timeout_seconds = 0);

}  // namespace lacuna
