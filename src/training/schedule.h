#pragma once
#include <cstdint>

#include "config/config.h"

namespace lacuna {

/// The learning rate of update n = 1 … steps. With W = warmup_steps, D = decay_steps, hi =
/// learning_rate, lo = min_learning_rate:
///   warm-up (all)  n <= W:  hi n / W
///   constant       then hi
///   wsd            then hi, and over the last D updates hi + (lo - hi) (n - (steps - D)) / D:
///   warm-
///                  up, stable, decay (arXiv:2404.06395; LLaDA's, arXiv:2502.09992, appendix B.1).
///                  Where the two lines cross, because W + D > steps, the lower one counts.
///   cosine         then lo + (hi - lo) (1 + cos(pi (n - W) / (steps - W))) / 2 (arXiv:1608.03983)
/// So the last update of wsd and cosine is made at lo. Depends on nothing but its arguments.
double scheduled_learning_rate(const OptimizerConfig& optimizer, std::int64_t steps,
                               std::int64_t n);

}  // namespace lacuna
