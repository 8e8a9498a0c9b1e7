#include "app/train_on_ranks.h"

#include <memory>

#include "app/backend_options.h"
#include "comm/device_mesh.h"
#include "comm/world.h"
#include "core/log.h"
#include "core/machine.h"
#include "kernels/backend.h"
#include "training/stop_signal.h"

namespace lacuna {

TrainResult train_on_ranks(const Config& config, const MpiSession& mpi, TrainerOptions options,
                           const std::string& same) {
  const CommunicationOptions communication{.timeout_seconds = config.parallel.timeout};
  auto world = world_communicator(mpi, nullptr, communication);
  check_same_on_all_ranks(*world, same, "the configuration");
  const MpiSession::Node node = mpi.node();
  share_machine(node.local_size);
  // The same on all ranks: how sums are cut among threads must not differ between ranks that
  // compute the same.
  DeviceOptions device = device_options(config.compute);
  const char* kind = word_of(config.compute.device);
  // Launchers let ranks see all GPUs of their machine, or each its own alone.
  device.index = node.local_rank % device_count(kind);
  if (device.threads == 0) device.threads = -int(reduced(*world, -node.threads, Reduce::max));
  const std::unique_ptr<Ops> ops = make_ops(kind, device);
  world = world_communicator(mpi, ops.get(), communication, config.parallel.transport);
  DeviceMesh grid(std::move(world), config.parallel.tensor_parallel, node.index);
  options.grid = &grid;
  Trainer trainer(config, *ops, options);
  const StopSignal signal(mpi.rank(), mpi.size());
  const TrainResult result = trainer.run([] { return StopSignal::requested(); });
  log_progress("");
  return result;
}

}  // namespace lacuna
