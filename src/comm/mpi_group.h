#pragma once
#include <atomic>
#include <cstddef>
#include <string>
#include <vector>

#include "comm/collective.h"
#include "comm/mpi_batch.h"
#include "comm/mpi_communicator.h"

namespace lacuna::mpi {

/// The collectives of one group, on host memory, one at a time, each returning when this rank's
/// part in it is done. For the one thread that runs them.
///
/// MPI_Allreduce may add in an order that depends on message size, process placement and the
/// library's tuning, and rounds bf16 at every hop where it knows it at all. Here each rank receives
/// the others' contributions to its own part of the data as they are, adds them up in rank order,
/// and sends the finished part to all (reduce-scatter, then all-gather, by direct exchange): the
/// result depends on the contributions alone, is the same on every rank, and is the same whether a
/// caller uses all_reduce or reduce_scatter and all_gather. Each rank sends and receives
/// 2 (n-1)/n times the data, which is the least possible, in 2 (n-1) messages per block.
///
/// Data goes in blocks, so that adding one overlaps with exchanging the next, and the memory needed
/// is bounded. Ranks meet first: they compare what they are about to do (Collective), so that calls
/// which do not match end in a message and not in wrong numbers. Small data comes along with that.
class Group {
 public:
  /// Takes `comm`.
  Group(MPI_Comm comm, std::string name, JobMonitor* monitor, const CommunicationOptions& options);
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  const std::string& name() const { return name_; }
  JobMonitor* monitor() const { return monitor_; }
  const CommunicationOptions& options() const { return options_; }

  void all_reduce(const Collective& c, std::byte* x);
  void all_gather(const Collective& c, std::byte* out, const std::byte* mine);
  void reduce_scatter(const Collective& c, std::byte* mine, const std::byte* in);
  void broadcast(const Collective& c, std::byte* x);
  void barrier(const Collective& c);
  /// MPI_Comm_split, MPI_COMM_NULL for a group of this rank alone.
  MPI_Comm split(int color, int key);

  /// What is running, or runs later, gives up. From any thread; the communicator is not freed then.
  void cancel() { cancelled_ = true; }
  std::int64_t bytes_sent() const { return bytes_sent_; }

 private:
  class Run;

  MPI_Comm comm_;
  std::string name_;
  JobMonitor* monitor_;
  CommunicationOptions options_;
  int rank_ = 0, size_ = 1;
  std::vector<int> world_ranks_;
  std::atomic<bool> cancelled_{false};
  std::atomic<std::int64_t> bytes_sent_{0};
  std::vector<std::byte> meeting_;  // headers and small data: what is sent, then what came
  std::vector<std::byte> blocks_;   // two blocks of each other rank
};

}  // namespace lacuna::mpi
