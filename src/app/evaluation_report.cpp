#include "app/evaluation_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "app/generation_report.h"
#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kWidestName = 40;

std::string number(double value) {
  if (!std::isfinite(value)) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", value);
  return text;
}

Json number_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json json_of(const Metric& m) {
  return {{"name", m.name},
          {"value", number_or_null(m.value)},
          {"standard_error", number_or_null(m.standard_error)},
          {"count", m.count}};
}

/// What results called acc and acc_norm before they had lm-evaluation-harness's names; "" of
/// others.
std::string former_name(const std::string& metric) {
  return metric == "acc" ? "accuracy" : metric == "acc_norm" ? "accuracy_norm" : "";
}

std::vector<const TaskReport*> members_of(const std::string& group,
                                          const std::vector<TaskReport>& tasks) {
  std::vector<const TaskReport*> members;
  for (const TaskReport& t : tasks)
    if (t.task.task.group == group) members.push_back(&t);
  return members;
}

std::vector<std::string> group_names(const std::vector<TaskReport>& tasks) {
  std::vector<std::string> names;
  for (const TaskReport& t : tasks) {
    const std::string& group = t.task.task.group;
    if (!group.empty() && std::find(names.begin(), names.end(), group) == names.end())
      names.push_back(group);
  }
  return names;
}

}  // namespace

std::vector<GroupReport> groups_of(const std::vector<TaskReport>& tasks) {
  std::vector<GroupReport> groups;
  for (const std::string& name : group_names(tasks)) {
    GroupReport group{name, 0, 0, {}};
    std::vector<const TaskResult*> results;
    for (const TaskReport* t : members_of(name, tasks)) {
      results.push_back(&t->result);
      group.records += t->result.records;
    }
    group.tasks = std::int64_t(results.size());
    group.means = group_means(results);
    groups.push_back(std::move(group));
  }
  return groups;
}

void check_groups(const std::vector<TaskReport>& tasks) {
  for (const std::string& name : group_names(tasks)) {
    const auto members = members_of(name, tasks);
    for (const TaskReport* t : members)
      if (t->task.task.type != members[0]->task.task.type)
        fail_usage(str(t->file, ": task.group \"", name, "\" is of ",
                       word_of(members[0]->task.task.type), " tasks (", members[0]->file,
                       "), but task.type is ", word_of(t->task.task.type)));
  }
}

EvaluationTable::EvaluationTable(const std::vector<TaskReport>& tasks) : width_(4) {
  for (const TaskReport& t : tasks)
    width_ = std::max({width_, std::min(kWidestName, t.name.size()),
                       std::min(kWidestName, t.task.task.group.size())});
}

/// Left-aligned texts, then right-aligned numbers.
std::string EvaluationTable::line(const std::string& task, const std::string& metric,
                                  const std::string& value, const std::string& error,
                                  const std::string& n) const {
  char text[256];
  std::snprintf(text, sizeof text, "%-*.*s  %-17s  %8s  %8s  %9s\n", int(width_), int(width_),
                printable(task.substr(0, kWidestName)).c_str(), metric.c_str(), value.c_str(),
                error.c_str(), n.c_str());
  return text;
}

std::string EvaluationTable::line(const std::string& task, const std::string& metric,
                                  const Metric& m) const {
  return line(task, metric, number(m.value), number(m.standard_error), with_commas(m.count));
}

std::string EvaluationTable::heading() const { return line("task", "metric", "value", "+-", "n"); }

std::string EvaluationTable::lines(const TaskReport& task) const {
  std::string all;
  for (const Metric& m : task.result.metrics) all += line(task.name, m.name, m);
  return all;
}

std::string EvaluationTable::lines(const GroupReport& group) const {
  std::string all;
  for (const Metric& m : group.means.micro) all += line(group.name, m.name + " (micro)", m);
  for (const Metric& m : group.means.macro) all += line(group.name, m.name + " (macro)", m);
  return all;
}

Json json_of(const TaskReport& task) {
  const TaskResult& r = task.result;
  Json metrics = Json::array();
  for (const Metric& m : r.metrics) metrics.push_back(json_of(m));
  for (const Metric& m : r.metrics) {
    const std::string former = former_name(m.name);
    if (former.empty()) continue;
    Json again = json_of(m);
    again["name"] = former;
    again["same_as"] = m.name;
    metrics.push_back(std::move(again));
  }
  Json json = {{"name", task.name},
               {"file", task.file},
               {"group", task.task.task.group},
               {"records", r.records},
               {"cut_prompts", r.cut_prompts},
               {"unfinished_searches", r.unfinished_searches},
               {"metrics", metrics},
               {"seconds", task.seconds},
               {"settings", to_toml(task.task)}};
  if (r.generated.passes > 0)
    json["generation"] = json_of(r.generated, task.decoders, task.seconds);
  return json;
}

Json json_of(const GroupReport& group) {
  Json metrics = Json::array();
  const auto add = [&](const std::vector<Metric>& means, const char* average, bool by_size) {
    for (const Metric& m : means) {
      Json json = json_of(m);
      json["average"] = average;
      json["weight_by_size"] = by_size;
      metrics.push_back(std::move(json));
    }
  };
  add(group.means.micro, "micro", true);
  add(group.means.macro, "macro", false);
  return {{"name", group.name},
          {"tasks", group.tasks},
          {"records", group.records},
          {"metrics", metrics}};
}

}  // namespace lacuna
