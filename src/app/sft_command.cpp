#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "app/commands.h"
#include "app/train_on_ranks.h"
#include "comm/mpi_session.h"
#include "config/config.h"
#include "core/atomic_file.h"
#include "core/check.h"
#include "training/model_io.h"

namespace lacuna {
namespace {

struct SftOptions {
  std::string config, init;
  std::vector<std::string> overrides;
  bool resume = false;
};

/// The config, with the model of the checkpoint it starts from where it describes none.
Config config_of(const SftOptions& options) {
  std::string text;
  try {
    text = read_file(options.config);
  } catch (const Error& e) {
    fail_usage(e.what());
  }
  Config config = parse_config(text, options.config);
  for (const std::string& o : options.overrides) apply_override(config, o);
  if (!options.init.empty()) config.train.init = options.init;
  if (config.train.init.empty())
    fail_usage("fine-tuning starts from a checkpoint: give --init, or train.init");
  std::string model_of;
  if (config.model == ModelConfig{}) {
    const CheckpointReader reader(resolve_checkpoint(config.train.init));
    config.model = config_of_checkpoint(reader).model;
    if (config.model.attention == Attention::causal)
      config.train.objective = Objective::autoregressive;
    model_of = ", with the model of " + reader.path();
  }
  try {
    validate(config);
  } catch (const UsageError& e) {
    fail_usage(options.config + model_of + ": " + e.what());
  }
  return config;
}

void sft(const SftOptions& options, const MpiSession& mpi) {
  const Config config = config_of(options);
  const TrainResult result =
      train_on_ranks(config, mpi, {.resume = options.resume, .trace = {}, .sft = true},
                     str(to_toml(config), "--resume ", options.resume, "\n"));
  if (mpi.rank() > 0) return;
  std::printf("%s: step %lld of %lld, saved as %s%s\n", result.stopped ? "stopped" : "done",
              static_cast<long long>(result.step), static_cast<long long>(config.train.steps),
              result.checkpoint.c_str(), result.stopped ? "; go on with --resume" : "");
}

}  // namespace

void add_sft_command(CLI::App& app, const MpiSession& session) {
  auto options = std::make_shared<SftOptions>();
  CLI::App* command = app.add_subcommand(
      "sft", "Fine-tune a model on prompts with responses (lacuna prepare --format chat)");
  command->add_option("--config", options->config, "the configuration, TOML (keys below)")
      ->required();
  command->add_option("--init", options->init,
                      "checkpoint, import or run to start from [train.init]");
  command
      ->add_option("--set", options->overrides,
                   "section.key=value instead of what the configuration says; may be repeated")
      ->allow_extra_args(false);
  command->add_flag("--resume", options->resume,
                    "go on from the newest valid checkpoint of train.output; begin if there is "
                    "none yet");
  command->footer(
      "Configuration, with defaults; a [model] that is left out is the checkpoint's, and "
      "data.sequence_length\nis the longest example:\n\n" +
      config_help());
  command->callback([options, &session] { sft(*options, session); });
}

}  // namespace lacuna
