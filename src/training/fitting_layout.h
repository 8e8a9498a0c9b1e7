#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "config/config.h"
#include "training/run_plan.h"

namespace lacuna {

/// The fewest ranks, of parallel.tensor_parallel times a power of two, on which a run fits into
/// `memory` bytes per rank as it is configured. None when no such number does.
std::optional<int> fewest_ranks_that_fit(const Config& config, std::int64_t memory,
                                         RunTask task = RunTask::pretrain);

/// The smallest change of a run that does not fit into `memory` bytes per rank that makes it fit: a
/// smaller micro-batch, sharded optimizer states, gradients and weights, recomputation, sequence
/// parallelism, more tensor parallel ranks, then more ranks, or several of these. As settings:
/// "train.micro_batch_size = 2". None when nothing does.
std::optional<std::string> change_that_fits(const Config& config, int ranks, std::int64_t memory,
                                            RunTask task = RunTask::pretrain);

}  // namespace lacuna
