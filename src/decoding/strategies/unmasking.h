#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/commit_rule.h"

namespace lacuna {

// How many masked tokens a step of LLaDA's generate() fills, and which (github.com/ML-GSAI/LLaDA,
// generate.py: get_num_transfer_tokens and the top-k after it).

/// Tokens that step `step` of `steps` fills of a block in which `masked` were masked at first:
/// floor(masked / steps), and one more in the first masked mod steps of them.
constexpr std::int64_t unmasked_in_step(std::int64_t masked, std::int64_t steps,
                                        std::int64_t step) {
  return masked / steps + (step < masked % steps ? 1 : 0);
}
/// The steps that fill anything; those after them fill nothing.
constexpr std::int64_t busy_steps(std::int64_t masked, std::int64_t steps) {
  return masked < steps ? masked : steps;
}

/// Draws in the order of precedes(): from the highest score to the lowest, of equal ones the first.
std::vector<ScoredDraw> in_order(std::span<const double> scores);
/// Indices of the `count` highest confidences, increasing; of equal ones the lower index.
std::vector<std::int64_t> most_confident(std::span<const double> confidence, std::int64_t count);

/// The confidence, uniform on (0,1), that random remasking gives to a position in a step:
/// CounterRng{seed, Purpose::remasking, sample << 32 | step} at `position`.
double random_confidence(std::uint64_t seed, std::int64_t sample, std::int64_t step,
                         std::int64_t position);

}  // namespace lacuna
