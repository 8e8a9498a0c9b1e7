#include "app/train_on_ranks.h"

#include "app/backend_options.h"
#include "app/device_ranks.h"
#include "core/log.h"
#include "training/stop_signal.h"

namespace lacuna {

TrainResult train_on_ranks(const Config& config, const MpiSession& mpi, TrainerOptions options,
                           const std::string& same) {
  const RankLayout layout{.tensor_parallel = config.parallel.tensor_parallel,
                          .transport = config.parallel.transport,
                          .timeout_seconds = config.parallel.timeout};
  const DeviceRanks ranks =
      make_device_ranks(mpi, word_of(config.compute.device), device_options(config.compute), layout,
                        same, "the configuration");
  options.grid = ranks.mesh.get();
  std::unique_ptr<Ops> host;
  if (config.optimizer.cpu_offload) host = make_ops("cpu", {.threads = ranks.threads});
  options.host = host.get();
  Trainer trainer(config, *ranks.ops, options);
  const StopSignal signal(mpi.rank(), mpi.size());
  const TrainResult result = trainer.run([] { return StopSignal::requested(); });
  log_progress("");
  return result;
}

}  // namespace lacuna
