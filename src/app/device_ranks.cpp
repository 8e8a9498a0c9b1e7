#include "app/device_ranks.h"

#include "comm/world.h"
#include "core/machine.h"

namespace lacuna {

DeviceRanks make_device_ranks(const MpiSession& mpi, const std::string& kind, DeviceOptions device,
                              const RankLayout& layout, const std::string& same,
                              const std::string& what) {
  const CommunicationOptions communication{.timeout_seconds = layout.timeout_seconds};
  auto world = world_communicator(mpi, nullptr, communication);
  check_same_on_all_ranks(*world, same, what);
  const MpiSession::Node node = mpi.node();
  share_machine(node.local_size);
  // Launchers let ranks see all GPUs of their machine, or each its own alone.
  device.index = node.local_rank % device_count(kind);
  // The same on all ranks: how sums are cut among threads must not differ between ranks that
  // compute the same.
  if (device.threads == 0) device.threads = -int(reduced(*world, -node.threads, Reduce::max));
  DeviceRanks ranks;
  ranks.threads = device.threads;
  ranks.ops = make_ops(kind, device);
  world = world_communicator(mpi, ranks.ops.get(), communication, layout.transport);
  ranks.mesh = std::make_unique<DeviceMesh>(std::move(world), layout.tensor_parallel, node.index);
  return ranks;
}

}  // namespace lacuna
