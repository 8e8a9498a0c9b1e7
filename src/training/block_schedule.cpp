#include "training/block_schedule.h"

#include <algorithm>

#include "core/text.h"

namespace lacuna {

std::vector<std::int64_t> block_sizes_of_step(const Config& config, std::int64_t step,
                                              std::int64_t steps) {
  const std::vector<std::int64_t>& sizes = config.train.block_sizes;
  if (sizes.empty()) return {config.model.block_size};
  if (config.train.block_schedule == BlockSchedule::mixed) return sizes;
  const auto stages = std::int64_t(sizes.size());
  // Validation and what follows the last step take the last.
  return {
      sizes[std::size_t(std::min(stages - 1, step * stages / std::max<std::int64_t>(1, steps)))]};
}

std::string block_schedule_summary(const Config& config) {
  if (config.train.objective != Objective::block_diffusion) return "";
  const bool stages = config.train.block_schedule == BlockSchedule::stages;
  std::string text;
  for (const std::int64_t size : config.train.block_sizes.empty()
                                     ? std::vector<std::int64_t>{config.model.block_size}
                                     : config.train.block_sizes)
    text += (text.empty() ? "blocks of " : stages ? ", then " : " or ") + std::to_string(size);
  return text + " tokens";
}

}  // namespace lacuna
