#include "training/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/check.h"

namespace lacuna {
namespace {

/// From `a` at 0 to `b` at 1.
double between(double a, double b, double share) { return a + (b - a) * share; }

/// hi until `steps` - D, then straight to lo.
double decay_line(const OptimizerConfig& o, std::int64_t steps, std::int64_t n) {
  const std::int64_t into = n - (steps - o.decay_steps);
  if (into <= 0) return o.learning_rate;
  return between(o.learning_rate, o.min_learning_rate,
                 std::min(1.0, double(into) / double(o.decay_steps)));
}

double cosine(const OptimizerConfig& o, std::int64_t steps, std::int64_t n) {
  const double share = std::min(1.0, double(n - o.warmup_steps) / double(steps - o.warmup_steps));
  return between(o.min_learning_rate, o.learning_rate,
                 0.5 * (1 + std::cos(std::numbers::pi * share)));
}

}  // namespace

double scheduled_learning_rate(const OptimizerConfig& o, std::int64_t steps, std::int64_t n) {
  CHECK(n >= 1, "learning rate of update ", n, "; updates count from 1");
  const double warmup =
      n < o.warmup_steps ? o.learning_rate * double(n) / double(o.warmup_steps) : o.learning_rate;
  switch (o.schedule) {
    case Schedule::constant:
      return warmup;
    case Schedule::wsd:
      return std::min(warmup, decay_line(o, steps, n));
    case Schedule::cosine:
      return n <= o.warmup_steps ? warmup : cosine(o, steps, n);
  }
  fail("unknown schedule");
}

}  // namespace lacuna
