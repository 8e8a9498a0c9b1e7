#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "config/config.h"

namespace lacuna {

/// The block sizes of step `step` of `steps` in a run of block diffusion, from which each sequence
/// draws one: train.block_sizes by train.block_schedule, or model.block_size alone.
std::vector<std::int64_t> block_sizes_of_step(const Config& config, std::int64_t step,
                                              std::int64_t steps);
/// All of them, for the log: "blocks of 1, then 4, then 16 tokens"; "" for other objectives.
std::string block_schedule_summary(const Config& config);

}  // namespace lacuna
