#pragma once
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>

#include "comm/communicator.h"
#include "comm/mpi_session.h"

namespace lacuna {

struct Collective;
class HostStaging;
namespace mpi {
class Group;
}

struct CommunicationOptions {
  /// How long a collective may go without progress before the job ends; 0: for ever.
  double timeout_seconds = 600;
  /// The longest message; what one rank holds of another at a time is two of them.
  std::int64_t block_bytes = 256 << 10;
  /// Data up to this size is exchanged whole, in one message to each rank.
  std::int64_t small_bytes = 4096;
};

/// Ranks that exchange messages through MPI. Host tensors are sent as they lie; device tensors are
/// copied through host memory by the Ops, which lets several ranks share one device.
///
/// Each communicator has a thread that runs its collectives, so that they go on while the caller
/// computes. The bits of a result are those of adding up in rank order (mpi_group.h).
class MpiCommunicator final : public Communicator {
 public:
  /// All ranks of the session, which must outlive this. `ops`: for device tensors; used by the
  /// calling thread only. Collective.
  explicit MpiCommunicator(const MpiSession& session, Ops* ops = nullptr,
                           const CommunicationOptions& options = {});
  ~MpiCommunicator() override;

  int rank() const override;
  int size() const override;
  const std::string& name() const override;
  /// A SelfCommunicator for a group of one.
  std::unique_ptr<Communicator> split(int color, int key, const std::string& name) override;
  void all_reduce(Tensor x, Reduce operation) override;
  void all_gather(Tensor out, Tensor mine) override;
  void reduce_scatter(Tensor mine, Tensor in, Reduce operation) override;
  void broadcast(Tensor x, int root) override;
  void wait() override;
  void barrier() override;
  CommunicationStats stats() const override;

 private:
  class Worker;
  MpiCommunicator(std::shared_ptr<Worker> worker, Ops* ops);
  void queue(Collective c, std::function<void(mpi::Group&, const Collective&)> run);
  void join_if_pending(std::initializer_list<Tensor> tensors);

  std::shared_ptr<Worker> worker_;
  std::unique_ptr<HostStaging> staging_;
  int exceptions_at_birth_;
  CommunicationStats stats_;
};

}  // namespace lacuna
