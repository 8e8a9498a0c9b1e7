#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "app/commands.h"
#include "config/config.h"
#include "core/check.h"
#include "core/text.h"
#include "data/token_file.h"
#include "training/run_plan.h"

namespace lacuna {
namespace {

struct PlanOptions {
  std::string config;
  std::vector<std::string> overrides;
  int ranks = 1, per_node = 8;
  std::uint64_t memory = std::uint64_t{80} << 30;
  double tflops = 400, node_bandwidth = 300, network_bandwidth = 40;  // of an H100 and its wires
};

/// With the vocabulary of the data where the configuration leaves it to that.
Config known_config(const PlanOptions& options) {
  Config config = read_config(options.config, options.overrides);
  if (config.model.vocab_size > 0) return config;
  if (!std::filesystem::exists(config.data.train))
    fail_usage(str("model.vocab_size = 0 leaves the vocabulary to data.train = ", config.data.train,
                   ", which is not there; say --set model.vocab_size=..."));
  config.model.vocab_size = TokenFile(config.data.train).vocab_size();
  return config;
}

void print_memory(const RunPlan::Memory& memory, std::int64_t available) {
  std::printf("memory per rank\n");
  for (const auto& [kind, bytes] :
       {std::pair{"weights", memory.weights}, std::pair{"gradients", memory.gradients},
        std::pair{"optimizer", memory.optimizer}, std::pair{"activations", memory.activations},
        std::pair{"workspace", memory.workspace}, std::pair{"sampling", memory.sampling},
        std::pair{"exchange", memory.exchange}})
    if (bytes > 0) std::printf("  %-12s %12s\n", kind, human_bytes(bytes).c_str());
  std::printf("  %-12s %12s of %s\n", "together", human_bytes(memory.total()).c_str(),
              human_bytes(available).c_str());
}

void print_communication(const RunPlan& plan) {
  const auto line = [](const char* what, double bytes) {
    if (bytes > 0) std::printf("  %-12s %12s\n", what, human_bytes(std::int64_t(bytes)).c_str());
  };
  std::printf("sent and received per rank and step\n");
  line("gradients", plan.gradient_bytes);
  line("weights", plan.weight_bytes);
  line("activations", plan.activation_bytes);
  if (plan.data * plan.tensor == 1) std::printf("  nothing\n");
}

/// Of a step: short ones, too, are to be compared with what is measured.
std::string step_duration(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4gs", seconds);
  return seconds < 60 ? text : human_duration(seconds);
}

void print_time(const RunPlan& plan, const Config& config, const PlanOptions& options) {
  const double node = options.node_bandwidth * 1e9, network = options.network_bandwidth * 1e9;
  const int ranks = plan.data * plan.tensor;
  const StepTime time =
      predict_step(plan, {options.tflops * 1e12, plan.tensor <= options.per_node ? node : network,
                          ranks <= options.per_node ? node : network});
  const double tokens = double(config.train.batch_size * config.data.sequence_length);
  std::printf("predicted step, at %g TFLOP/s per rank, %g and %g GB/s within and between nodes\n",
              options.tflops, options.node_bandwidth, options.network_bandwidth);
  std::printf("  %-12s %12s\n", "computing", step_duration(time.compute).c_str());
  std::printf("  %-12s %12s (%s more hidden behind the backward pass)\n", "waiting",
              step_duration(time.exposed_communication).c_str(),
              step_duration(time.hidden_communication).c_str());
  std::printf("  %-12s %12s, efficiency %.0f %%, %s tokens/s; %lld steps take %s\n", "together",
              step_duration(time.total()).c_str(), 100 * time.efficiency(),
              with_commas(std::int64_t(tokens / time.total())).c_str(),
              static_cast<long long>(config.train.steps),
              human_duration(time.total() * double(config.train.steps)).c_str());
}

void plan(const PlanOptions& options) {
  const Config config = known_config(options);
  const RunPlan plan = plan_run(config, options.ranks);
  const auto memory = std::int64_t(options.memory);
  std::printf("%s parameters on %d ranks: %d data parallel x %d tensor parallel, %d node%s of %d\n",
              with_commas(plan.parameters).c_str(), options.ranks, plan.data, plan.tensor,
              (options.ranks + options.per_node - 1) / options.per_node,
              options.ranks > options.per_node ? "s" : "", options.per_node);
  print_memory(plan.memory, memory);
  if (plan.memory.total() > memory) {
    const auto change = change_that_fits(config, options.ranks, memory);
    fail(str("does not fit: a rank needs ", human_bytes(plan.memory.total()), " of ",
             human_bytes(memory),
             change ? "; the smallest change that fits: " + *change
                    : "; no layout of up to 16,384 ranks does"));
  }
  print_communication(plan);
  print_time(plan, config, options);
}

}  // namespace

void add_plan_command(CLI::App& app) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* command = app.add_subcommand(
      "plan", "What a run on many ranks will need: memory, communication, time per step");
  command->add_option("--config", options->config, "the configuration, TOML")->required();
  command
      ->add_option("--set", options->overrides,
                   "section.key=value instead of what the configuration says; may be repeated")
      ->allow_extra_args(false);
  command->add_option("--ranks", options->ranks, "ranks in all, one per device")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--gpus-per-node", options->per_node, "ranks of a node")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command
      ->add_option("--memory", options->memory, "of a rank's device: 80GiB, 24GB (of 2^30 bytes)")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->default_str("80GiB");
  command->add_option("--tflops", options->tflops, "that training reaches on a rank's device")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--node-bandwidth", options->node_bandwidth, "GB/s of a rank within a node")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--network-bandwidth", options->network_bandwidth,
                   "GB/s of a rank between nodes")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->callback([options] { plan(*options); });
}

}  // namespace lacuna
