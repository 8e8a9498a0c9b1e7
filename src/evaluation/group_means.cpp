#include "evaluation/group_means.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/check.h"

namespace lacuna {
namespace {

/// The metric of that name of every task; empty when one lacks it.
std::vector<Metric> of_all(std::span<const TaskResult* const> tasks, const std::string& name) {
  std::vector<Metric> found;
  for (const TaskResult* task : tasks)
    for (const Metric& m : task->metrics)
      if (m.name == name) found.push_back(m);
  return found.size() == tasks.size() ? found : std::vector<Metric>{};
}

Metric micro_mean(const std::vector<Metric>& metrics) {
  double sum = 0, squares = 0;
  std::int64_t n = 0;
  for (const Metric& m : metrics) {
    const auto count = double(m.count);
    sum += count * m.value;
    n += m.count;
    // The standard error squared, times count and count - 1: deviations squared, summed up.
    if (m.count > 1) squares += count * (count - 1) * m.standard_error * m.standard_error;
  }
  const std::int64_t freedom = n - std::int64_t(metrics.size());
  const double error = freedom > 0 ? std::sqrt(squares / double(freedom) / double(n))
                                   : std::numeric_limits<double>::quiet_NaN();
  return {metrics[0].name, sum / double(n), error, n};
}

Metric macro_mean(const std::vector<Metric>& metrics) {
  double sum = 0, variance = 0;
  for (const Metric& m : metrics) {
    sum += m.value;
    variance += m.standard_error * m.standard_error;
  }
  const auto k = double(metrics.size());
  return {metrics[0].name, sum / k, std::sqrt(variance) / k, std::int64_t(metrics.size())};
}

}  // namespace

GroupMeans group_means(std::span<const TaskResult* const> tasks) {
  CHECK(!tasks.empty(), "a group without tasks has no mean");
  GroupMeans means;
  for (const Metric& first : tasks[0]->metrics) {
    const std::vector<Metric> metrics = of_all(tasks, first.name);
    if (metrics.empty()) continue;
    means.micro.push_back(micro_mean(metrics));
    means.macro.push_back(macro_mean(metrics));
  }
  return means;
}

}  // namespace lacuna
