#pragma once
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/mpi_communicator.h"
#include "comm/mpi_session.h"
#include "config/config.h"

namespace lacuna {

class Ops;

/// What carries device tensors between ranks (parallel.transport).
struct TransportChoice {
  Transport transport = Transport::mpi;  // mpi or nccl
  std::string warning;                   // when something slow was chosen that nobody asked for
};
/// `gpus`: Ops::gpu_identity() of each rank. `no_nccl`: why NCCL cannot be used, if so. Throws
/// UsageError when `wanted` is nccl and cannot be had: NCCL wants a GPU for each rank.
TransportChoice choose_transport(Transport wanted, const std::vector<std::string>& gpus,
                                 const std::string& no_nccl);

/// All ranks of the session. A SelfCommunicator when there is one; else an MpiCommunicator, inside
/// an NcclCommunicator where `wanted` and the GPUs of `ops` let it. Without `ops` only host tensors
/// are taken. Collective; what goes wrong is thrown on all ranks, and rank 0 warns.
std::unique_ptr<Communicator> world_communicator(const MpiSession& session, Ops* ops = nullptr,
                                                 const CommunicationOptions& options = {},
                                                 Transport wanted = Transport::automatic);

}  // namespace lacuna
