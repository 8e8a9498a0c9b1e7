#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "config/config.h"
#include "training/checkpoint_save.h"
#include "training/optimizer.h"

namespace lacuna {

/// Where a run stands. With the weights and moments, all that a resumed run needs to go on bit for
/// bit: randomness depends on the seed, the step and the sample alone.
struct TrainingState {
  std::int64_t step = 0;       // steps done
  std::int64_t samples = 0;    // sequences consumed by them
  std::int64_t tokens = 0;     // after random lengths
  std::int64_t bad_steps = 0;  // steps among them whose update was skipped

  std::int64_t updates() const { return step - bad_steps; }
};

/// The attributes of a checkpoint. `tokenizer` is tokenizer.json; `extra` what an import kept.
CheckpointInfo checkpoint_info(const TrainingState& state, const Config& config,
                               const std::string& tokenizer,
                               const std::map<std::string, std::string>& extra);
/// This rank's part of its tensors: weights, moments and masters. `written` is what this rank
/// writes of ModelTensors::flat(); the other ranks write the rest.
std::vector<SavedGroup> saved_groups(const Optimizer& optimizer,
                                     const std::vector<FlatRange>& written);

/// The reverse, into the weights and moments that the optimizer updates. Error naming what is
/// missing or of another shape.
TrainingState load_training(const CheckpointReader& reader, const ModelTensors& weights,
                            Optimizer& optimizer);
/// Only where the run stood.
TrainingState load_state(const CheckpointReader& reader);

}  // namespace lacuna
