#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/device_mesh.h"
#include "config/config.h"
#include "core/stopwatch.h"
#include "kernels/ops.h"
#include "model/weights.h"
#include "training/data_parallel.h"
#include "training/gradient_accumulator.h"
#include "training/gradient_noise.h"
#include "training/model_replica.h"
#include "training/rank_process_group.h"
#include "training/run_directory.h"
#include "training/run_log.h"
#include "training/sample_text.h"
#include "training/step_readback.h"
#include "training/task.h"
#include "training/trace.h"
#include "training/training_data.h"
#include "training/training_state.h"
#include "training/updater.h"

namespace lacuna {

struct TrainerOptions {
  bool resume = false;          // go on from train.output's newest valid checkpoint, if any
  std::filesystem::path trace;  // where the first step is written to (training/trace.h); or empty
  double matmul_peak = 0;       // FLOP/s of all ranks, what utilisation is a share of; 0: measured
  Ops* host = nullptr;          // the CPU, which optimizer.cpu_offload needs
  DeviceMesh* grid = nullptr;   // the ranks that train together; null: this one alone
  std::int64_t bucket_bytes = 0;       // of gradients; 0: training/zero_layout.h
  TaskFactory task = pretrain_task;    // what the model is trained on
  Trained trained = Trained::weights;  // what of it is trained
};

/// How a run ended, other than by an exception.
struct TrainResult {
  std::int64_t step = 0;
  std::int64_t steps = 0;            // of the whole run, by train.steps or train.epochs
  bool stopped = false;              // before the last of them, because it was asked to
  std::filesystem::path checkpoint;  // the newest one
};

/// A task, from a config to the last checkpoint. Step s (from 0) uses samples
/// [s batch_size, (s + 1) batch_size) of the loader's order; randomness depends on seed, step and
/// sample alone. So a run that is stopped and resumed gives the weights, moments and metrics of one
/// that was not.
///
/// On several ranks each makes a Trainer of the same config, and the same calls. Rank 0 alone keeps
/// the run's folder and tells what happens. However the ranks are laid out they train on the same
/// samples with the same noise, and differ in the rounding of sums.
class Trainer {
 public:
  /// Opens the data, fills in the model's vocabulary and special tokens, allocates everything, and
  /// takes weights from the checkpoint to resume, from train.init, or from the seed; where adapters
  /// are trained, the frozen weights from train.init. Only then does it touch train.output. Throws
  /// UsageError for what the config gets wrong, Error for files.
  Trainer(const Config& config, Ops& ops, const TrainerOptions& options = {});
  ~Trainer();

  /// To the last step, or until `stop_requested` says so on any rank after a step: then saves and
  /// returns. Given on all ranks or on none. A skipped step is never the last before a checkpoint:
  /// saving and stopping wait for one that is not. Throws Error after train.max_bad_steps skipped
  /// steps in a row or when the last is skipped, when weights or moments are not finite as they are
  /// to be saved, and when a file cannot be written.
  TrainResult run(const std::function<bool()>& stop_requested = {});
  /// One step, without log, validation or checkpoint. Waits for the device.
  StepResult step();

  /// As resolved.
  const Config& config() const { return data_.config; }
  /// While run() asks `stop_requested`, `tokens` and `bad_steps` may be those of the step before.
  const TrainingState& state() const { return state_; }
  /// Of the whole run, by train.steps or train.epochs.
  std::int64_t steps() const { return steps_; }
  /// What is trained, and its gradients. After a step the weights that this rank updates are there
  /// (updater().optimizer().weights()); passes gather the others.
  const ModelTensors& weights() const { return replica_.weights; }
  /// Gathers them, unless they are windows. Collective.
  void gather_weights();
  const ModelTensors& gradients() const { return replica_.gradients; }
  /// The sums over ranks, of which this rank may have its parts alone.
  const OptimizerShard& reduced_gradients() const { return replica_.reduced; }
  const Updater& updater() const { return updater_; }
  /// The model as it is now.
  ModelWeights model() const { return replica_.views(); }
  /// Time that ranks spent waiting for each other so far, on this rank.
  double communication_seconds() const;

 private:
  /// A step that is queued on the device, whose losses and norm the host has not read.
  struct QueuedStep {
    BatchResult batch;
    double learning_rate = 0;
    StepReadback* readback = nullptr;  // null: the losses are known
    bool measured_noise = false;
  };
  void queue_step();
  StepResult read_step();
  void finish_step();
  void begin_interval();

  bool first_rank() const { return grid_->world().rank() == 0; }
  void sum_over_ranks(BatchResult& batch);
  bool agreed(bool here);
  bool is_logged(std::int64_t step) const;
  void take_weights();
  void resume_from(const std::filesystem::path& checkpoint);
  std::unique_ptr<const ModelReader> open_init();
  Config saved_config() const;
  std::vector<SourceLoader::Use> sources_of_run() const;
  void log_sources() const;
  void log_setup();
  void write_trace(const Trace& trace, double loss);
  void check_bad_steps(const StepResult& result);
  std::string advice_after_bad_steps() const;
  void validate();
  void save();
  void finish_save();
  void allocate_staging();

  // Each may borrow those above it.
  Ops& ops_;
  const std::shared_ptr<const DeviceMesh> grid_;
  RankProcessGroup team_;
  RunDirectory directory_;
  const TrainingData data_;
  const Config& config_;  // as resolved
  const Task task_;
  const SampleRange samples_;  // this rank's, of a step
  ModelReplica replica_;
  GradientAccumulator batch_;
  Updater updater_;
  const std::unique_ptr<GradientNoiseProbe> noise_;  // null without train.log_gradient_noise
  std::unique_ptr<SampleText> sample_text_;          // null on ranks that draw none
  std::filesystem::path trace_;                      // until it is written
  // On a device, for the steps in turn: the host reads one while the device computes the next.
  std::vector<std::unique_ptr<StepReadback>> readbacks_;
  std::optional<QueuedStep> queued_;
  Stopwatch interval_;  // since the last step was read, or this one begun
  double aside_seconds_ = 0, waited_aside_ = 0, waited_before_ = 0;  // of the interval

  TrainingState state_;
  std::int64_t steps_ = 0;                       // of the whole run
  std::map<std::string, std::string> imported_;  // what an import kept for export
  std::string base_;                             // where the frozen weights were read from
  std::filesystem::path checkpoint_;             // the newest
  std::unique_ptr<Arena> staging_;  // of checkpoints that are saved in the background; or null
  std::unique_ptr<CheckpointSave> saving_;  // under way, of saved_step_
  std::int64_t saved_step_ = -1, validated_step_ = -1, bad_in_a_row_ = 0;
  std::unique_ptr<RunLog> log_;  // rank 0's
  const AbortOnException abort_on_exception_{grid_->world()};
};

}  // namespace lacuna
