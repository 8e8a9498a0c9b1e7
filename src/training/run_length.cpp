#include "training/run_length.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "core/text.h"

namespace lacuna {

std::int64_t last_step(const TrainConfig& train, std::int64_t samples_per_epoch,
                       const TrainingState& state) {
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  if (train.epochs == 0) return train.steps == -1 ? TrainConfig::kDefaultSteps : train.steps;
  const double samples = train.epochs * double(samples_per_epoch);
  if (samples / double(train.batch_size) > double(most))
    fail_usage(str("train.epochs = ", train.epochs, " of ", counted(samples_per_epoch, "sample"),
                   " in batches of ", train.batch_size, " are more than ", with_commas(most),
                   " steps"));
  const std::int64_t left = std::llround(samples) - state.samples;
  const std::int64_t steps =
      left > 0 ? (left + train.batch_size - 1) / train.batch_size : std::int64_t{0};
  return std::max<std::int64_t>(1, state.step + steps);
}

std::string epochs_summary(const TrainConfig& train, std::int64_t samples_per_epoch,
                           std::int64_t steps) {
  if (train.epochs == 0) return "";
  return str(train.epochs, train.epochs == 1 ? " epoch of " : " epochs of ",
             counted(samples_per_epoch, "sample"), ": ", counted(steps, "step"), " of ",
             train.batch_size);
}

}  // namespace lacuna
