#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/gpu_type.h"
#include "app/known_config.h"
#include "app/plan_machine.h"
#include "app/plan_sweep.h"
#include "core/check.h"
#include "core/json.h"
#include "core/text.h"
#include "training/fitting_layout.h"
#include "training/run_plan.h"

namespace lacuna {
namespace {

using Parts = std::vector<std::pair<const char*, std::int64_t>>;

Parts memory_parts(const RunPlan::Memory& m) {
  return {{"weights", m.weights},         {"gradients", m.gradients}, {"optimizer", m.optimizer},
          {"activations", m.activations}, {"workspace", m.workspace}, {"reference", m.reference},
          {"sampling", m.sampling},       {"exchange", m.exchange},   {"staging", m.staging},
          {"runtime", m.runtime}};
}
Parts communication_parts(const RunPlan& p) {
  return {
      {"gradients", std::int64_t(p.gradient_bytes)},
      {"weights", std::int64_t(p.weight_bytes + p.forward_weight_bytes + p.backward_weight_bytes)},
      {"activations", std::int64_t(p.activation_bytes)}};
}

void print_parts(const Parts& parts) {
  for (const auto& [kind, bytes] : parts) {
    if (bytes == 0) continue;
    const bool estimate = std::string_view(kind) == "runtime";
    std::printf("  %-12s %12s%s\n", kind, human_bytes(bytes).c_str(),
                estimate ? " (estimate: CUDA context, workspaces, NCCL)" : "");
  }
}

void print_time(const StepTime& time, const KnownConfig& known, const Machine& m) {
  std::printf("predicted step, at %s per rank (%s)", with_prefix(m.flops, "FLOP/s").c_str(),
              m.flops_source.c_str());
  if (known.config.compute.linear_dtype == LinearDtype::fp8 && m.fp8_speedup > 1)
    std::printf(", products in FP8 %.2f times as fast (assumed)", m.fp8_speedup);
  if (m.ranks > 1) std::printf(", %s within a node", with_prefix(m.node_bytes, "B/s").c_str());
  if (m.ranks > m.per_node)
    std::printf(", %s between nodes", with_prefix(m.network_bytes, "B/s").c_str());
  std::printf("\n  %-12s %12s\n", "computing", human_time(time.compute).c_str());
  if (m.ranks > 1)
    std::printf("  %-12s %12s (%s more hidden behind the passes)\n", "waiting",
                human_time(time.exposed_communication).c_str(),
                human_time(time.hidden_communication).c_str());
  if (time.host_update > 0)
    std::printf("  %-12s %12s (on the CPU, %s per node, and copies at %s)\n", "optimizer",
                human_time(time.host_update).c_str(), with_prefix(m.host_bytes, "B/s").c_str(),
                with_prefix(m.copy_bytes, "B/s").c_str());
  std::printf(
      "  %-12s %12s, efficiency %.0f %%, %s tokens/s\n", "together",
      human_time(time.total()).c_str(), 100 * time.efficiency(),
      with_commas(std::int64_t(tokens_of_step(known.config, known.task) / time.total())).c_str());
  if (known.steps)
    std::printf("  %s take %s\n", counted(*known.steps, "step").c_str(),
                human_time(time.total() * double(*known.steps)).c_str());
}

/// With the interval in steps, as train.checkpoint_every takes it.
std::int64_t advised_steps(const CheckpointCost& cost, const StepTime& time) {
  return std::max<std::int64_t>(1, std::llround(cost.interval / time.total()));
}

void print_checkpoints(const RunPlan& plan, const Config& config, const StepTime& time,
                       const Machine& m) {
  const CheckpointCost cost = checkpoint_cost(plan, config, m);
  std::printf("checkpoints of %s, written in %s (%s per node)%s\n",
              human_bytes(plan.checkpoint_bytes).c_str(), human_time(cost.written).c_str(),
              with_prefix(m.disk_bytes, "B/s").c_str(),
              config.train.async_checkpoint ? " while training goes on" : "");
  std::printf("  %-12s %12s\n", "stall", human_time(cost.stall).c_str());
  std::printf(
      "  best every %s: train.checkpoint_every = %s, at a failure every %s; with the steps done "
      "again %.2g %% of the time\n",
      human_time(cost.interval).c_str(), with_commas(advised_steps(cost, time)).c_str(),
      human_time(m.seconds_between_failures / m.ranks).c_str(), 100 * cost.lost_share);
}

void print_json(const std::string& path, const RunPlan& plan, const KnownConfig& known,
                const Machine& m) {
  const StepTime time = step_time(plan, m);
  nlohmann::ordered_json json = {{"config", path},
                                 {"parameters", plan.parameters},
                                 {"trained", plan.trained},
                                 {"ranks", m.ranks},
                                 {"data", plan.data},
                                 {"tensor", plan.tensor},
                                 {"memory_available", m.memory},
                                 {"flops_per_s", m.flops}};
  for (const auto& [kind, bytes] : memory_parts(plan.memory)) json["memory"][kind] = bytes;
  json["memory"]["together"] = plan.memory.total();
  json["memory"]["host"] = plan.memory.host;
  for (const auto& [kind, bytes] : communication_parts(plan)) json["sent"][kind] = bytes;
  json["compute_seconds"] = time.compute;
  json["waiting_seconds"] = time.exposed_communication;
  json["hidden_seconds"] = time.hidden_communication;
  json["host_update_seconds"] = time.host_update;
  json["step_seconds"] = time.total();
  json["tokens_per_second"] = tokens_of_step(known.config, known.task) / time.total();
  const CheckpointCost cost = checkpoint_cost(plan, known.config, m);
  json["checkpoint"] = {{"bytes", plan.checkpoint_bytes},
                        {"written_seconds", cost.written},
                        {"stall_seconds", cost.stall},
                        {"best_interval_seconds", cost.interval},
                        {"best_interval_steps", advised_steps(cost, time)},
                        {"lost_share", cost.lost_share}};
  for (const SourceLoader::Use& use : known.sources)
    json["sources"].push_back({{"path", use.path},
                               {"tokens", use.tokens},
                               {"samples", use.samples},
                               {"epochs", use.epochs}});
  std::printf("%s\n", json_text(json).c_str());
}

void print_text(const RunPlan& plan, const KnownConfig& known, const Machine& m, bool chosen) {
  for (const std::string& assumption : known.assumed)
    std::printf("assumed: %s\n", assumption.c_str());
  std::printf("%s parameters on %s%s: %d data parallel x %d tensor parallel, %s of %d\n",
              with_commas(plan.parameters).c_str(), counted(m.ranks, "rank").c_str(),
              chosen && m.ranks > 1 ? ", the fewest that hold it" : "", plan.data, plan.tensor,
              counted(m.nodes(), "node").c_str(), m.per_node);
  if (plan.trained < plan.parameters)
    std::printf("%s trained, in adapters (lora.rank = %s)\n", with_commas(plan.trained).c_str(),
                with_commas(known.config.lora.rank).c_str());
  std::printf("memory per rank\n");
  print_parts(memory_parts(plan.memory));
  std::printf("  %-12s %12s of %s\n", "together", human_bytes(plan.memory.total()).c_str(),
              human_bytes(m.memory).c_str());
  if (plan.memory.host > 0)
    std::printf("  %-12s %12s, %s per node, for optimizer.cpu_offload\n", "main memory",
                human_bytes(plan.memory.host).c_str(),
                human_bytes(plan.memory.host * std::min(m.ranks, m.per_node)).c_str());
}

void print_sources(const KnownConfig& known) {
  if (known.sources.empty()) return;
  const TrainConfig& train = known.config.train;
  std::printf("data of %s\n", counted(*known.steps, "step").c_str());
  const double samples = double(*known.steps) * double(train.batch_size);
  for (const SourceLoader::Use& use : known.sources) {
    std::printf("  %s: %s, %.3g %% of what is learned, %.3g passes", printable(use.path).c_str(),
                counted(use.tokens, "token").c_str(), 100 * double(use.samples) / samples,
                use.epochs);
    if (use.max_epochs > 0 && use.epochs > use.max_epochs)
      std::printf(", more than its max_epochs = %g", use.max_epochs);
    else if (use.epochs > most_useful_epochs(train.objective))
      std::printf("; beyond %g repeated text is of little use to %s",
                  most_useful_epochs(train.objective), word_of(train.objective));
    std::printf("\n");
  }
}

void check_fits(const RunPlan& plan, const KnownConfig& known, const Machine& m) {
  if (plan.memory.total() <= m.memory) return;
  const auto change = change_that_fits(known.config, m.ranks, m.memory, known.task);
  fail(str("does not fit on ", counted(m.ranks, "rank"), ": a rank needs ",
           human_bytes(plan.memory.total()), " of ", human_bytes(m.memory),
           change ? "; the smallest change that fits: " + *change
                  : "; no layout of up to 16,384 ranks does"));
}

void plan(const std::string& path, const PlanOptions& options) {
  KnownConfig known = known_config(path, options.overrides);
  if (!options.task.empty()) known.task = parse_word<RunTask>(options.task).value();
  if (!options.sweep.empty()) return print_sweep(path, known, options);
  const Machine machine = machine_for(known, options, measured_flops(known.config, options));
  const RunPlan plan = plan_run(known.config, machine.ranks, known.task);
  if (options.json) {
    check_fits(plan, known, machine);
    return print_json(path, plan, known, machine);
  }
  print_text(plan, known, machine, !options.ranks);
  check_fits(plan, known, machine);
  if (machine.ranks > 1) {
    std::printf("sent and received per rank and step\n");
    print_parts(communication_parts(plan));
  }
  const StepTime time = step_time(plan, machine);
  print_time(time, known, machine);
  print_sources(known);
  if (machine.ranks > 1) print_checkpoints(plan, known.config, time, machine);
}

void plan_all(const PlanOptions& options) {
  bool first = true;
  for (const std::string& path : options.configs) {
    if (options.configs.size() > 1 && !options.json)
      std::printf("%s%s\n", first ? "" : "\n", path.c_str());
    first = false;
    plan(path, options);
    std::fflush(stdout);
  }
}

}  // namespace

void add_plan_command(Command app) {
  auto options = std::make_shared<PlanOptions>();
  const Command command = app.add_subcommand(
      "plan", "What a run on one or many ranks will need: memory, communication, time per step");
  command.add_option("config,--config", options->configs, "configurations, TOML").required();
  command
      .add_option("--set", options->overrides,
                  "section.key=value instead of what the configuration says; may be repeated")
      .one_value_per_use();
  command
      .add_option(
          "--task", options->task,
          "what it is for [sft where data.train was prepared with --format chat or lora.rank "
          "is set, dpo with --format preference]")
      .one_of(all_words<RunTask>());
  command
      .add_option("--ranks", options->ranks,
                  "ranks in all, one per device [on GPUs the fewest that hold the run, of "
                  "parallel.tensor_parallel times a power of two; on CPUs "
                  "parallel.tensor_parallel]")
      .between(1, 1 << 20);
  command
      .add_option("--gpus-per-node", options->per_node,
                  "ranks of a node [8; on CPUs all: this machine]")
      .between(1, 1024);
  command
      .add_option(
          "--gpu", options->gpu,
          "the kind of GPU, whose data sheet gives the defaults of the options below [h100]")
      .one_of(gpu_names());
  command
      .add_option("--memory", options->memory,
                  "of a rank's device: 80GiB, 24GB (of 2^30 bytes) [79GiB, what an 80 GB GPU has; "
                  "of a CPU this machine's share]")
      .byte_size();
  command
      .add_option("--tflops", options->tflops,
                  "that training reaches on a rank's device [400; on a CPU, the GEMM peak "
                  "measured here]")
      .positive();
  command
      .add_option("--node-bandwidth", options->node_bandwidth,
                  "GB/s of a rank within a node [300; on CPUs 3]")
      .positive();
  command
      .add_option("--network-bandwidth", options->network_bandwidth,
                  "GB/s of a rank between nodes [40; on CPUs 1.2]")
      .positive();
  command
      .add_option("--host-bandwidth", options->host_bandwidth,
                  "GB/s that the CPUs of a node read and write main memory at, for "
                  "optimizer.cpu_offload [200]")
      .positive();
  command
      .add_option("--disk-bandwidth", options->disk_bandwidth,
                  "GB/s that the ranks of a node write checkpoints at [2]")
      .positive();
  command
      .add_option("--mtbf", options->mtbf_hours,
                  "hours between two failures of one rank's device or its machine [50,700, of "
                  "16,384 H100s during Llama 3's pretraining]")
      .positive();
  command.add_option("--sweep", options->sweep,
                     "numbers of ranks, as 8,64,512: a table of what a step takes on each");
  command.add_flag("--json", options->json, "a JSON object per configuration: bytes and seconds");
  command.callback([options] { plan_all(*options); });
}

}  // namespace lacuna
