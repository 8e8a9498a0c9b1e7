#pragma once
#include <cstdint>
#include <string>

#include "config/config.h"
#include "training/training_state.h"

namespace lacuna {

/// The step after which a run ends: train.steps; with train.epochs, as many batches of
/// train.batch_size as it takes to use epochs x samples_per_epoch samples (to the nearest whole
/// number of them). A run that is resumed in `state` and changes train.batch_size or train.epochs
/// ends when these samples are used; without a change the number stays what it was. Throws
/// UsageError when it is beyond 2^31 - 1.
std::int64_t last_step(const TrainConfig& train, std::int64_t samples_per_epoch,
                       const TrainingState& state = {});

/// "3 epochs of 1,000 samples: 94 steps of 32", or "" without train.epochs.
std::string epochs_summary(const TrainConfig& train, std::int64_t samples_per_epoch,
                           std::int64_t steps);

}  // namespace lacuna
