#pragma once
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "config/task.h"
#include "evaluation/evaluator.h"
#include "evaluation/group_means.h"

namespace lacuna {

/// A task of an evaluation and, afterwards, its result.
struct TaskReport {
  std::string name, file;
  TaskConfig task;
  TaskResult result;
  double seconds = 0;
  std::int64_t decoders = 1;  // that generated side by side: data ranks
};

/// The tasks that have task.group in common.
struct GroupReport {
  std::string name;
  std::int64_t tasks = 0, records = 0;
  GroupMeans means;
};
/// In the order in which groups first appear.
std::vector<GroupReport> groups_of(const std::vector<TaskReport>& tasks);
/// Throws UsageError when the tasks of a group are not of one type.
void check_groups(const std::vector<TaskReport>& tasks);

/// The table of an evaluation: a line per metric.
class EvaluationTable {
 public:
  explicit EvaluationTable(const std::vector<TaskReport>& tasks);
  std::string heading() const;
  std::string lines(const TaskReport& task) const;
  std::string lines(const GroupReport& group) const;

 private:
  std::string line(const std::string& task, const std::string& metric, const std::string& value,
                   const std::string& error, const std::string& n) const;
  std::string line(const std::string& task, const std::string& metric, const Metric& m) const;
  std::size_t width_;  // of the tasks' names
};

nlohmann::ordered_json json_of(const TaskReport& task);
nlohmann::ordered_json json_of(const GroupReport& group);

}  // namespace lacuna
