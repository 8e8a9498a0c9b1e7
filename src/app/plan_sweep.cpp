#include "app/plan_sweep.h"

#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

constexpr int kMost = 1 << 20;

std::vector<int> numbers_of(const std::string& list) {
  std::vector<int> all;
  const char *at = list.data(), *end = at + list.size();
  while (true) {
    int n = 0;
    const auto [rest, error] = std::from_chars(at, end, n);
    if (error != std::errc() || n < 1 || n > kMost || (rest != end && *rest != ','))
      fail_usage(str("--sweep = ", list, " must be numbers of ranks from 1 to ", with_commas(kMost),
                     ", separated by commas"));
    all.push_back(n);
    if (rest == end) return all;
    at = rest + 1;
  }
}

struct Row {
  int ranks = 0;
  Machine machine;
  RunPlan plan;
  StepTime time;
  std::string refusal;  // why there is no plan
  bool fits() const { return refusal.empty() && plan.memory.total() <= machine.memory; }
};

Row row_of(const KnownConfig& known, PlanOptions options, double measured, int ranks) {
  options.ranks = ranks;
  Row row{.ranks = ranks,
          .machine = machine_for(known, options, measured),
          .plan = {},
          .time = {},
          .refusal = {}};
  try {
    row.plan = plan_run(known.config, ranks, known.task);
  } catch (const UsageError& e) {
    row.refusal = e.what();
    return row;
  }
  row.time = step_time(row.plan, row.machine);
  return row;
}

void print_row(const Row& row, const KnownConfig& known) {
  std::printf("%8s", with_commas(row.ranks).c_str());
  if (!row.refusal.empty()) {
    std::printf("  %s\n", row.refusal.c_str());
    return;
  }
  const double tokens = tokens_of_step(known.config, known.task) / row.time.total();
  std::printf(" %6d %11s%s %12s %12s %12s %10.1f %% %16s", row.machine.nodes(),
              human_bytes(row.plan.memory.total()).c_str(), row.fits() ? " " : "!",
              human_time(row.time.compute).c_str(),
              human_time(row.time.exposed_communication).c_str(),
              human_time(row.time.total()).c_str(), 100 * row.time.efficiency(),
              with_commas(std::int64_t(tokens)).c_str());
  if (known.steps) {
    const double run = row.time.total() * double(*known.steps);
    std::printf(" %10s %14s", human_time(run).c_str(),
                with_commas(std::int64_t(run / 3600 * row.ranks)).c_str());
  }
  std::printf("\n");
}

}  // namespace

void print_sweep(const std::string& path, const KnownConfig& known, const PlanOptions& options) {
  const std::vector<int> numbers = numbers_of(options.sweep);
  const double measured = measured_flops(known.config, options);
  std::vector<Row> rows;
  for (const int ranks : numbers) rows.push_back(row_of(known, options, measured, ranks));
  if (options.json) {
    for (const Row& row : rows) {
      nlohmann::ordered_json json = {{"config", path}, {"ranks", row.ranks}};
      if (row.refusal.empty())
        json.update(
            {{"fits", row.fits()},
             {"memory", row.plan.memory.total()},
             {"compute_seconds", row.time.compute},
             {"waiting_seconds", row.time.exposed_communication},
             {"hidden_seconds", row.time.hidden_communication},
             {"step_seconds", row.time.total()},
             {"efficiency", row.time.efficiency()},
             {"tokens_per_second", tokens_of_step(known.config, known.task) / row.time.total()}});
      else
        json["refused"] = row.refusal;
      std::printf("%s\n", json.dump().c_str());
    }
    return;
  }
  const Machine& first = rows.front().machine;
  std::printf("%s per rank (%s), %s within a node of %d, %s between nodes; %s tokens a step\n",
              with_prefix(first.flops, "FLOP/s").c_str(), first.flops_source.c_str(),
              with_prefix(first.node_bytes, "B/s").c_str(), first.per_node,
              with_prefix(first.network_bytes, "B/s").c_str(),
              with_commas(std::int64_t(tokens_of_step(known.config, known.task))).c_str());
  std::printf("%8s %6s %12s %12s %12s %12s %12s %16s", "ranks", "nodes", "memory", "computing",
              "waiting", "step", "efficiency", "tokens/s");
  if (known.steps) std::printf(" %10s %14s", "run", "device hours");
  std::printf("\n");
  bool all_fit = true;
  for (const Row& row : rows) {
    print_row(row, known);
    all_fit &= row.fits() || !row.refusal.empty();
  }
  if (!all_fit) std::printf("!: more than the %s of a rank\n", human_bytes(first.memory).c_str());
}

}  // namespace lacuna
