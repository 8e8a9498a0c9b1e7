#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "app/commands.h"
#include "app/run_options.h"
#include "app/train_on_ranks.h"
#include "comm/mpi_session.h"
#include "config/config.h"
#include "core/check.h"
#include "training/flops.h"

namespace lacuna {
namespace {

struct PretrainOptions {
  RunOptions run;
  std::string trace;
};

/// As a POSIX shell would need it.
std::string quoted(const std::string& word) {
  if (!word.empty() && word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                              "0123456789_-+=./:,@%") == std::string::npos)
    return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

std::string resume_command(const RunOptions& options) {
  std::string command = "lacuna pretrain --config " + quoted(options.config);
  for (const std::string& text : options.overrides) command += " --set " + quoted(text);
  return command + " --resume";
}

/// Before hours of training: whether a file can be made where the trace is to go.
void check_trace(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path();
  if (!folder.empty() && !std::filesystem::is_directory(folder))
    fail_usage("--trace " + path + ": there is no folder " + folder.string());
  if (std::filesystem::is_directory(path)) fail_usage("--trace " + path + ": is a folder");
}

void pretrain(const PretrainOptions& options, const MpiSession& mpi) {
  const Config config = read_config(options.run.config, options.run.overrides);
  if (!options.trace.empty()) check_trace(options.trace);

  const TrainResult result = train_on_ranks(
      config, mpi, {.resume = options.run.resume, .trace = options.trace},
      str(to_toml(config), "--resume ", options.run.resume, "\n--trace ", options.trace, "\n"));
  if (mpi.rank() > 0) return;
  if (result.stopped)
    std::printf("stopped after step %lld of %lld, saved as %s; to go on:\n  %s\n",
                static_cast<long long>(result.step), static_cast<long long>(config.train.steps),
                result.checkpoint.c_str(), resume_command(options.run).c_str());
  else
    std::printf("done: step %lld, saved as %s\n", static_cast<long long>(result.step),
                result.checkpoint.c_str());
}

}  // namespace

void add_pretrain_command(CLI::App& app, const MpiSession& session) {
  auto options = std::make_shared<PretrainOptions>();
  CLI::App* command =
      app.add_subcommand("pretrain", "Train a model from a token file, by a TOML configuration");
  options->run.add_to(*command);
  command
      ->add_option("--trace", options->trace,
                   "HDF5 file to write the first step's batch, weights and gradients to")
      ->check([](const std::string& path) { return path.empty() ? "names no file" : ""; });
  command->footer("Configuration, with defaults:\n\n" + config_help() + "\n" + kUtilisationHelp +
                  "\n\nCtrl-C or SIGTERM finishes the step, saves a checkpoint and ends with exit "
                  "code 0;\na second one ends at once.");
  command->callback([options, &session] { pretrain(*options, session); });
}

}  // namespace lacuna
