#include <cstdio>
#include <memory>
#include <string>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/known_config.h"
#include "app/run_options.h"
#include "app/train_on_ranks.h"
#include "comm/mpi_session.h"
#include "config/config.h"
#include "core/check.h"
#include "core/text.h"
#include "training/flops.h"

namespace lacuna {
namespace {

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

void pretrain(const RunOptions& options, const MpiSession& mpi) {
  const Config config = read_pretrain_config(options.config, options.overrides);
  options.check_trace();

  const TrainResult result =
      train_on_ranks(config, mpi, {.resume = options.resume, .trace = options.trace},
                     to_toml(config) + options.agreed());
  if (mpi.rank() > 0) return;
  if (result.stopped)
    std::printf("stopped after step %lld of %lld, saved as %s; to go on:\n  %s\n",
                static_cast<long long>(result.step), static_cast<long long>(result.steps),
                printable(result.checkpoint.string()).c_str(),
                printable(resume_command(options)).c_str());
  else
    std::printf("done: step %lld, saved as %s\n", static_cast<long long>(result.step),
                printable(result.checkpoint.string()).c_str());
}

}  // namespace

void add_pretrain_command(Command app, const MpiSession& session) {
  auto options = std::make_shared<RunOptions>();
  const Command command =
      app.add_subcommand("pretrain", "Train a model from a token file, by a TOML configuration");
  options->add_to(command, /*config_first=*/true);
  command.footer("Configuration, with defaults:\n\n" + config_help() + "\n" + kUtilisationHelp +
                 "\n\nCtrl-C, SIGTERM, SIGHUP, SIGUSR1 or SIGUSR2 finishes the step, saves a "
                 "checkpoint and ends\nwith exit code 0; a second Ctrl-C or SIGTERM ends at once.");
  command.callback([options, &session] { pretrain(*options, session); });
}

}  // namespace lacuna
