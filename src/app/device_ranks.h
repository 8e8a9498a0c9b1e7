#pragma once
#include <memory>
#include <string>

#include "comm/device_mesh.h"
#include "comm/mpi_session.h"
#include "config/config.h"
#include "kernels/backend.h"

namespace lacuna {

/// How the ranks of a job compute together.
struct RankLayout {
  std::int64_t tensor_parallel = 1;  // ranks of a tensor parallel (TP) group
  Transport transport = Transport::automatic;
  double timeout_seconds = ParallelConfig{}.timeout;
};

/// This rank's device, and the mesh of all ranks. The mesh is destroyed first.
struct DeviceRanks {
  std::unique_ptr<Ops> ops;
  int threads = 0;  // of the CPU, this rank's share
  std::unique_ptr<DeviceMesh> mesh;
};

/// Rank k of a machine gets its k-th device of `kind`, or its only visible one; the ranks of a
/// machine share its cores where device.threads is 0. `same` is a text that must be the same on all
/// ranks, `what` its name in messages. Collective. UsageError when it is not the same and for a
/// layout that does not divide the ranks; errors of make_ops().
DeviceRanks make_device_ranks(const MpiSession& mpi, const std::string& kind, DeviceOptions device,
                              const RankLayout& layout, const std::string& same,
                              const std::string& what);

}  // namespace lacuna
