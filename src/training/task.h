#pragma once
#include <cstdint>
#include <memory>

#include "comm/communicator.h"
#include "diffusion/objective.h"
#include "training/batch_source.h"
#include "training/training_data.h"
#include "training/validator.h"

namespace lacuna {

/// What a model is trained on: where its batches come from, the objective on them, and validation.
/// A new task is a BatchSource, a Validator, and a function like those below that joins them.
class Task {
 public:
  /// Borrows `config`. `validator` null: the run has no validation data.
  Task(const Config& config, std::unique_ptr<BatchSource> source,
       std::unique_ptr<const Validator> validator);

  BatchSource& source() const { return *source_; }
  /// Null when the run has no validation data.
  const Validator* validator() const { return validator_.get(); }
  /// The loss of the source's batches, of which this rank takes `samples` samples per step; the
  /// batches hold the noise and weights that train.objective asks for. Borrows ops, weights and the
  /// tensor-parallel group (null: one rank). Called once: what the source computes with is
  /// allocated too. Throws Error with the memory table when the activations do not fit.
  ObjectiveRunner objective(Ops& ops, const ModelWeights& weights, std::int64_t samples,
                            Communicator* tensor_parallel) const;

 private:
  const Config& config_;
  std::unique_ptr<BatchSource> source_;
  std::unique_ptr<const Validator> validator_;
};

/// How to make a run's task. It borrows the data. `world`: all ranks of the run, of which the first
/// prints warnings. Throws Error for files, UsageError for a config that they contradict.
using TaskFactory = Task (*)(const TrainingData& data, Communicator& world);

/// Windows of a corpus, all tokens of which are predicted (PretrainBatches, PretrainValidator).
Task pretrain_task(const TrainingData& data, Communicator& world);
/// Responses given their prompts (SftBatches, SftValidator).
Task sft_task(const TrainingData& data, Communicator& world);
/// Pairs of responses of which one is preferred (PreferenceBatches, PreferenceValidator).
Task dpo_task(const TrainingData& data, Communicator& world);

}  // namespace lacuna
