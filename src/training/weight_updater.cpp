#include "training/updater.h"

namespace lacuna {
namespace {

/// A rank's part of an update.
ShardRanges update_share(const DeviceMesh& grid, const ModelReplica& replica) {
  const FlatRange everything{0, replica.weights.flat().count()};
  ShardRanges share;
  share.updated =
      replica.data_parallel.sharded() ? replica.parts : std::vector<FlatRange>{everything};
  share.counted = counted_ranges(replica.weights, replica.parts);
  if (grid.world().size() > 1) share.ranks = &grid.world();
  if (replica.data_parallel.sharded())
    share.holders = &grid.world();
  else if (grid.tensor().size() > 1)
    share.holders = &grid.tensor();
  return share;
}

class WeightUpdater final : public Updater {
 public:
  explicit WeightUpdater(const UpdaterContext& context)
      : context_(context),
        replica_(context.replica),
        optimizer_(context.ops, context.config.optimizer, replica_.weights,
                   update_share(context.grid, replica_), std::uint64_t(context.config.train.seed),
                   context.host) {}

  std::vector<WeightPiece> first_weights() const override { return optimizer_.master().pieces(); }
  Ops& first_weights_ops() const override { return optimizer_.state_ops(); }
  void start(std::uint64_t /*seed*/) override {
    optimizer_.cast_master_weights();
    optimizer_.begin_average();
    replica_.data_parallel.gather(replica_.weights);
  }
  TrainingState load(const CheckpointReader& reader,
                     const std::function<void()>& /*begin_again*/) override {
    const TrainingState state = load_training(reader, replica_.weights, optimizer_);
    replica_.data_parallel.gather(replica_.weights);
    return state;
  }

  void measure() override { optimizer_.measure(replica_.reduced); }
  double gradient_norm() const override { return optimizer_.gradient_norm(); }
  void update(double learning_rate, std::int64_t number) override {
    optimizer_.update(replica_.reduced, learning_rate, number);
    replica_.data_parallel.gather(replica_.weights);
  }

  void swap_average() override {
    if (!optimizer_.average()) return;
    optimizer_.swap_average();
    replica_.data_parallel.gather(replica_.weights);
  }

  std::vector<SavedGroup> saved() const override {
    return saved_groups(replica_.weights, &optimizer_, replica_.parts);
  }

  std::int64_t bytes() const override { return optimizer_.bytes(); }
  const Optimizer* optimizer() const override { return &optimizer_; }

 private:
  const UpdaterContext context_;
  ModelReplica& replica_;
  Optimizer optimizer_;
};

}  // namespace

UpdaterKind all_weights() {
  return {.make = [](const UpdaterContext& context) -> std::unique_ptr<Updater> {
    return std::make_unique<WeightUpdater>(context);
  }};
}

UpdaterKind sft_updater(const LoraConfig& config) {
  return config.rank > 0 ? lora_adapters() : all_weights();
}

}  // namespace lacuna
