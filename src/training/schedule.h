#pragma once
#include <cstdint>
#include <string>

#include "config/config.h"

namespace lacuna {

/// The updates of a run that warm up and that decay; those between stay at the peak.
struct SchedulePhases {
  std::int64_t warmup = 0, decay = 0;
};
/// optimizer.warmup_steps and decay_steps of a run of `steps` updates. What does not fit is cut, as
/// in torchtitan: the warm-up to the run, the decay to what the warm-up leaves. decay: only of wsd.
SchedulePhases schedule_phases(const OptimizerConfig& optimizer, std::int64_t steps);

/// "wsd: 100 steps of warm-up, 1,100 at the peak, 800 of decay", for the log.
std::string schedule_summary(const OptimizerConfig& optimizer, std::int64_t steps);
/// Which number of steps a run is too short for, or "". Shares always fit.
std::string schedule_shortening(const OptimizerConfig& optimizer, std::int64_t steps);

/// The learning rate of update n = 1 … steps. With W, D = schedule_phases(), hi = learning_rate, lo
/// = min_learning_rate:
///   warm-up (all)  n <= W:  hi n / W
///   constant       then hi
///   wsd            then hi, and over the last D updates hi + (lo - hi) (n - (steps - D)) / D:
///                  warm-up, stable, decay (arXiv:2404.06395; LLaDA's, arXiv:2502.09992, appendix
///                  B.1)
///   cosine         then lo + (hi - lo) (1 + cos(pi (n - W) / (steps - W))) / 2 (arXiv:1608.03983)
/// So the last update of wsd and cosine is made at lo, if the warm-up leaves any to them. Depends
/// on nothing but its arguments.
double scheduled_learning_rate(const OptimizerConfig& optimizer, std::int64_t steps,
                               std::int64_t n);

}  // namespace lacuna
