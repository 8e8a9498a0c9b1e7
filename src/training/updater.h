#pragma once
#include <cstdint>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "comm/device_mesh.h"
#include "config/config.h"
#include "kernels/ops.h"
#include "training/model_replica.h"
#include "training/optimizer.h"
#include "training/training_state.h"

namespace lacuna {

/// Updates what a replica trains, by AdamW, with optimizer states sharded over the data-parallel
/// ranks from parallel.zero_stage 1 on (training/optimizer.h). Every rank has one and makes the
/// same calls.
class Updater {
 public:
  /// Borrows all. `host`: where optimizer states are offloaded to; or null.
  Updater(Ops& ops, const Config& config, const DeviceMesh& grid, ModelReplica& replica,
          Ops* host = nullptr);

  /// Where a run's first weights are to be written, before start(): pieces of the trained weights,
  /// or of their f32 masters.
  std::vector<WeightPiece> first_weights() const { return optimizer_.master().pieces(); }
  /// What can write them: they may be in main memory beside a device.
  Ops& first_weights_ops() const { return optimizer_.state_ops(); }
  /// Begins with the weights written there.
  void start();
  /// Begins with a checkpoint. Error naming what is missing or of another shape.
  TrainingState load(const CheckpointReader& reader);

  /// Measures the replica's gradients: the next update() scales by min(1, clip_norm / norm).
  /// Queued, like update(): the host does not wait for the norm. `check` as in GradientNorm.
  void measure(Tensor check = {}) { optimizer_.measure(replica_.reduced, check); }
  /// The norm of the gradients last measured, before clipping; the same on every rank; NaN or
  /// infinite when one of them is. Waits.
  double gradient_norm() const { return optimizer_.gradient_norm(); }
  /// One update from the gradients last measured, after which every rank has the new weights.
  /// `number` counts updates from 1. Changes nothing when the norm is not finite.
  void update(double learning_rate, std::int64_t number);

  /// Exchanges the weights and their moving average, where there is one (optimizer.ema_decay), on
  /// every rank; called a second time, back again, bit for bit.
  void swap_average();

  /// This rank's part of the tensors of a checkpoint that load() resumes from.
  std::vector<SavedGroup> saved() const { return saved_groups(optimizer_, replica_.parts); }
  /// Of memory that it owns.
  std::int64_t bytes() const { return optimizer_.bytes(); }
  const Optimizer& optimizer() const { return optimizer_; }

 private:
  ModelReplica& replica_;
  Optimizer optimizer_;
};

/// work() with the weights' moving average in place of the weights, where there is one. Called by
/// every rank. An exception leaves the average there: it ends the run.
template <class Work>
auto with_average(Updater& updater, const Work& work) {
  updater.swap_average();
  auto result = work();
  updater.swap_average();
  return result;
}

}  // namespace lacuna
