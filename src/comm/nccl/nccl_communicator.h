#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "comm/communicator.h"

namespace lacuna {

class CudaOps;
class JobMonitor;
struct Collective;

/// Of the GPU's memory, for each group that sums activations or asks for a maximum: see below.
inline constexpr std::int64_t kNcclBufferBytes = std::int64_t{32} << 20;

struct NcclOptions {
  JobMonitor* monitor = nullptr;  // ends the job when a collective fails or is stuck
  double timeout_seconds = 600;   // for a collective, from when it begins on the device; 0: none
  int world_rank = 0;             // of this rank, for messages
  std::int64_t buffer_bytes = kNcclBufferBytes;
};

/// Ranks with a GPU each. Device tensors are exchanged by NCCL, from GPU to GPU where the machine
/// can, on a stream of this communicator's own; host tensors by the communicator it is made with.
///
/// A collective waits on the device for the Ops calls before it, wait() lets later Ops calls wait
/// for it: events order the streams, and the host waits for neither. NCCL connects the ranks at the
/// first collective on a device tensor. Its sums of f32, f64 and integers are added in an order
/// that depends on the number of ranks, the size, the links between the GPUs and NCCL's version
/// and settings (NCCL_ALGO): the same in every run on one layout, but not that of MpiCommunicator.
///
/// NCCL's other reductions are not what Communicator promises: it rounds sums of bf16 and f16 at
/// every hop, its maximum of floats drops NaN, and its mean divides before it adds. Those are made
/// of sends and receives: each rank gets the others' contributions to its part of the data as they
/// are, adds them up in rank order in f32, and sends the part to all. The bytes are the same as a
/// ring's, the bits those of MpiCommunicator; `buffer_bytes` of device memory hold what arrives.
/// In training that concerns the activations of tensor parallel ranks (bf16); gradients are f32.
///
/// Groups that come from one world share a stream: their collectives run one after another, in the
/// order of the calls. Two communicators of NCCL whose kernels run at the same time can each hold
/// what the other's needs, on two GPUs the other way round, and then wait for ever (NCCL's user
/// guide, "Using multiple NCCL communicators concurrently"). A sum of tensor parallel ranks thus
/// waits for the gradients' buckets queued before it.
///
/// What is not checked: NCCL does not compare what the ranks call. Collectives of several groups
/// must be called in the same order on all ranks that the groups share.
///
/// An error that NCCL notices later, or a collective that takes longer than the limit, ends the job
/// with one message naming the rank and the collective (job_monitor.h); without a monitor, the next
/// call throws it. Destroyed by an exception, or after an error, it aborts what is under way.
class NcclCommunicator final : public Communicator {
 public:
  /// `ops` must be those of a GPU (CudaOps) and outlive this. Every rank of `host` has a GPU that
  /// no other has.
  NcclCommunicator(std::unique_ptr<Communicator> host, Ops& ops, const NcclOptions& options);
  ~NcclCommunicator() override;

  /// Why there is no NCCL on this machine, in one line; empty when there is.
  static std::string why_not();

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  const std::string& name() const override { return host_->name(); }
  /// A SelfCommunicator for a group of one.
  std::unique_ptr<Communicator> split(int color, int key, const std::string& name) override;
  void all_reduce(Tensor x, Reduce operation) override;
  void all_gather(Tensor out, Tensor mine) override;
  void reduce_scatter(Tensor mine, Tensor in, Reduce operation) override;
  void broadcast(Tensor x, int root) override;
  void wait() override;
  /// For the hosts: what is queued on the devices may still run.
  void barrier() override;
  /// bytes_sent: what a ring sends. waited_seconds: also how long the Ops' stream stalled in
  /// wait(), as far as the device has come.
  CommunicationStats stats() const override;
  void abort() noexcept override;

 private:
  struct Device;
  struct Family;
  NcclCommunicator(std::unique_ptr<Communicator> host, CudaOps& ops, const NcclOptions& options,
                   std::shared_ptr<Family> family);
  void queue(Collective c, double bytes, const std::function<void(Device&)>& work);

  std::unique_ptr<Communicator> host_;
  CudaOps& ops_;
  const NcclOptions options_;
  std::shared_ptr<Family> family_;  // of all groups that come from one world
  std::unique_ptr<Device> device_;
  int exceptions_at_birth_;
};

}  // namespace lacuna
