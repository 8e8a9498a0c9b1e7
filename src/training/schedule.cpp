#include "training/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

/// From `a` at 0 to `b` at 1.
double between(double a, double b, double share) { return a + (b - a) * share; }

/// hi until `steps` - D, then straight to lo.
double decay_line(const OptimizerConfig& o, std::int64_t steps, std::int64_t decay,
                  std::int64_t n) {
  const std::int64_t into = n - (steps - decay);
  if (into <= 0) return o.learning_rate;
  return between(o.learning_rate, o.min_learning_rate, std::min(1.0, double(into) / double(decay)));
}

double cosine(const OptimizerConfig& o, std::int64_t steps, std::int64_t warmup, std::int64_t n) {
  const double share = std::min(1.0, double(n - warmup) / double(steps - warmup));
  return between(o.min_learning_rate, o.learning_rate,
                 0.5 * (1 + std::cos(std::numbers::pi * share)));
}

}  // namespace

SchedulePhases schedule_phases(const OptimizerConfig& o, std::int64_t steps) {
  SchedulePhases phases;
  phases.warmup = std::min(o.warmup_steps.of(steps), steps);
  if (o.schedule == Schedule::wsd)
    phases.decay = std::min(o.decay_steps.of(steps), steps - phases.warmup);
  return phases;
}

std::string schedule_summary(const OptimizerConfig& o, std::int64_t steps) {
  const auto [warmup, decay] = schedule_phases(o, steps);
  const std::int64_t rest = steps - warmup - decay;
  std::string text = str(word_of(o.schedule), ": ", counted(warmup, "step"), " of warm-up");
  if (o.schedule == Schedule::cosine) return text + str(", ", with_commas(rest), " of cosine");
  text += str(", ", with_commas(rest), " at the peak");
  return o.schedule == Schedule::wsd ? text + str(", ", with_commas(decay), " of decay") : text;
}

std::string schedule_shortening(const OptimizerConfig& o, std::int64_t steps) {
  const auto [warmup, decay] = schedule_phases(o, steps);
  std::string text;
  const auto cut = [&](const char* key, const StepCount& wanted, std::int64_t left) {
    if (wanted.is_share() || wanted.steps() <= left) return;
    text += str(text.empty() ? "" : " and ", "optimizer.", key, " = ", wanted.steps(),
                " is cut to ", left);
  };
  cut("warmup_steps", o.warmup_steps, warmup);
  if (o.schedule == Schedule::wsd) cut("decay_steps", o.decay_steps, decay);
  if (text.empty()) return "";
  return str("a run of ", counted(steps, "step"), " is shorter than its schedule: ", text,
             "; a share such as 0.1 follows the run's length");
}

double scheduled_learning_rate(const OptimizerConfig& o, std::int64_t steps, std::int64_t n) {
  CHECK(n >= 1, "learning rate of update ", n, "; updates count from 1");
  const auto [warmup_steps, decay_steps] = schedule_phases(o, steps);
  const double warmup =
      n < warmup_steps ? o.learning_rate * double(n) / double(warmup_steps) : o.learning_rate;
  switch (o.schedule) {
    case Schedule::constant:
      return warmup;
    case Schedule::wsd:
      return std::min(warmup, decay_line(o, steps, decay_steps, n));
    case Schedule::cosine:
      return n <= warmup_steps ? warmup : cosine(o, steps, warmup_steps, n);
  }
  fail("unknown schedule");
}

}  // namespace lacuna
