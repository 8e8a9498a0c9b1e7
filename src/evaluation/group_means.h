#pragma once
#include <span>
#include <vector>

#include "evaluation/evaluator.h"

namespace lacuna {

/// The means of the metrics that all tasks of a group have, as lm-evaluation-harness's groups have
/// them (aggregate_metric_list).
struct GroupMeans {
  std::vector<Metric> micro;  // weighted by records (weight_by_size: true); the error is that of
                              // pooled_sample_stderr
  std::vector<Metric> macro;  // of the tasks' values (weight_by_size: false); the error is that of
                              // unweighted_mean_stderr
};
/// `tasks`: at least one. A mean's count is that of the records, or of the tasks.
GroupMeans group_means(std::span<const TaskResult* const> tasks);

}  // namespace lacuna
