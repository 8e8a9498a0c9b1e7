#include "training/updater.h"

namespace lacuna {
namespace {

/// A rank's part of an update.
ShardRanges update_share(const DeviceMesh& grid, const ModelReplica& replica) {
  ShardRanges share;
  share.updated = replica.shard.owned();
  share.weights = &replica.shard;
  share.counted = counted_ranges(replica.weights, replica.parts);
  if (grid.world().size() > 1) share.ranks = &grid.world();
  if (replica.data_parallel.sharded())
    share.holders = &grid.world();
  else if (grid.tensor().size() > 1)
    share.holders = &grid.tensor();
  return share;
}

}  // namespace

Updater::Updater(Ops& ops, const Config& config, const DeviceMesh& grid, ModelReplica& replica,
                 Ops* host)
    : replica_(replica),
      optimizer_(ops, config.optimizer, replica.weights, update_share(grid, replica),
                 std::uint64_t(config.train.seed), host) {}

void Updater::start() {
  optimizer_.cast_master_weights();
  optimizer_.begin_average();
  replica_.data_parallel.weights_changed(replica_.weights);
}

TrainingState Updater::load(const CheckpointReader& reader) {
  const TrainingState state = load_training(reader, replica_.weights, optimizer_);
  replica_.data_parallel.weights_changed(replica_.weights);
  return state;
}

void Updater::update(double learning_rate, std::int64_t number) {
  optimizer_.update(replica_.reduced, learning_rate, number);
  replica_.data_parallel.weights_changed(replica_.weights);
}

void Updater::swap_average() {
  if (!optimizer_.average()) return;
  optimizer_.swap_average();
  replica_.data_parallel.weights_changed(replica_.weights);
}

}  // namespace lacuna
