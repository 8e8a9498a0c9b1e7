#pragma once
#include <string>

#include "comm/mpi_session.h"
#include "config/config.h"
#include "training/trainer.h"

namespace lacuna {

/// Trains on all ranks of the session, to the end or until a signal asks to stop: what `pretrain`
/// and `sft` share. `same` says in words what must be the same on all ranks. UsageError when it is
/// not; and what Trainer throws.
TrainResult train_on_ranks(const Config& config, const MpiSession& mpi, TrainerOptions options,
                           const std::string& same);

}  // namespace lacuna
