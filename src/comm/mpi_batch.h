#pragma once
#include <atomic>
#include <cstdint>
#include <vector>

#include "comm/job_monitor.h"
#include "comm/mpi_detail.h"

namespace lacuna::mpi {

/// The collective that waits: told of progress, and asked whether to go on.
struct Waiter {
  Activity& activity;
  const std::atomic<bool>& cancelled;
  const std::vector<int>& world_ranks;  // of the ranks of the group
};

/// Messages under way together. Memory they use must live until wait() has returned or the batch is
/// destroyed, which gives up what is not complete.
class Batch {
 public:
  explicit Batch(MPI_Comm comm) : comm_(comm) {}
  ~Batch();
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  /// At most INT_MAX bytes; nothing is sent for none, and none must be expected.
  void send(const void* data, std::int64_t bytes, int to, int tag);
  void receive(void* data, std::int64_t bytes, int from, int tag);
  /// Returns when all are complete. Polls, and more and more rarely while nothing happens: MPI's
  /// own waiting would take a core from the computation that goes on beside it. Throws Error when
  /// MPI fails or the waiter is cancelled.
  void wait(Waiter& waiter);

 private:
  struct Peer {
    int rank;
    bool sending;
  };
  bool test(Waiter& waiter);
  std::vector<int> awaited(const Waiter& waiter) const;

  MPI_Comm comm_;
  std::vector<MPI_Request> requests_;
  std::vector<Peer> peers_;
  std::vector<int> indices_;
  std::vector<MPI_Status> statuses_;
};

}  // namespace lacuna::mpi
