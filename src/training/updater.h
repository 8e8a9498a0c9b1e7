#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "comm/device_mesh.h"
#include "config/config.h"
#include "formats/process_group.h"
#include "kernels/ops.h"
#include "training/model_replica.h"
#include "training/optimizer.h"
#include "training/trace.h"
#include "training/training_state.h"

namespace lacuna {

/// What a run updates of its model: all weights, or adapters of some of them. Owns what that takes
/// (moments, master weights, adapters). Every rank has one and makes the same calls.
class Updater {
 public:
  virtual ~Updater() = default;

  /// Where a run's first weights are to be written, before start(): pieces of the model's weights,
  /// or of their f32 masters.
  virtual std::vector<WeightPiece> first_weights() const = 0;
  /// What can write them: they may be in main memory beside a device.
  virtual Ops& first_weights_ops() const = 0;
  /// Begins with the weights written there; `seed` for what is drawn.
  virtual void start(std::uint64_t seed) = 0;
  /// Begins with a checkpoint and its companion. `begin_again` writes the run's first weights
  /// (train.init) once more, for an updater whose own state is relative to them. Error naming what
  /// is missing or of another shape.
  virtual TrainingState load(const CheckpointReader& reader,
                             const std::function<void()>& begin_again) = 0;

  /// Measures the replica's gradients: the next update() scales by min(1, clip_norm / norm).
  /// Queued, like update(): the host does not wait for the norm.
  virtual void measure() = 0;
  /// The norm of the gradients last measured, before clipping; the same on every rank; NaN or
  /// infinite when one of them is. Waits.
  virtual double gradient_norm() const = 0;
  /// One update from the gradients last measured, after which every rank has the new weights.
  /// `number` counts updates from 1. Changes nothing when the norm is not finite.
  virtual void update(double learning_rate, std::int64_t number) = 0;

  /// Exchanges the weights and their moving average, where there is one (optimizer.ema_decay), on
  /// every rank; called a second time, back again, bit for bit.
  virtual void swap_average() {}

  /// This rank's part of the tensors of a checkpoint that load() resumes from.
  virtual std::vector<SavedGroup> saved() const = 0;
  /// Writes what belongs beside such a checkpoint, before it. By one rank.
  virtual void save_companion(const std::filesystem::path& /*checkpoint*/) const {}
  /// Removes what save_companion() left beside checkpoints that are gone. By one rank.
  virtual void prune(const std::filesystem::path& /*checkpoints*/) const {}

  /// For the log, or "": "LoRA rank 8: 1,024 trainable parameters".
  virtual std::string description() const { return {}; }
  /// Of memory that it owns.
  virtual std::int64_t bytes() const = 0;
  /// The moments of the model's own weights; null when those are not what is updated.
  virtual const Optimizer* optimizer() const { return nullptr; }
  /// What it has to add to a trace of the gradients last measured.
  virtual TraceAdditions trace() const { return {}; }
};

/// What updaters work with; they borrow all of it.
struct UpdaterContext {
  Ops& ops;
  const Config& config;
  const DeviceMesh& grid;
  ProcessGroup& team;  // the ranks of the grid's world
  ModelReplica& replica;
  Ops* host = nullptr;  // where optimizer states are offloaded to
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

/// A kind of updater, which is known before the model is.
struct UpdaterKind {
  std::unique_ptr<Updater> (*make)(const UpdaterContext& context);
  /// Checks the companion of a checkpoint, as find_checkpoint() asks; null: nothing is.
  void (*verify)(const std::filesystem::path& checkpoint) = nullptr;
};

/// AdamW on all weights, with optimizer states sharded over the data-parallel ranks from
/// parallel.zero_stage 1 on (training/optimizer.h).
UpdaterKind all_weights();
/// AdamW on adapters of the weights in lora.targets (training/lora.h).
UpdaterKind lora_adapters();
/// What fine-tuning updates: adapters when lora.rank is above 0, else all weights.
UpdaterKind sft_updater(const LoraConfig& config);

}  // namespace lacuna
