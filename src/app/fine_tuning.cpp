#include "app/fine_tuning.h"

#include <cstdio>
#include <memory>
#include <string>

#include "app/checkpoint_option.h"
#include "app/command_line.h"
#include "app/known_config.h"
#include "app/run_options.h"
#include "app/train_on_ranks.h"
#include "comm/mpi_session.h"
#include "config/config.h"
#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

struct FineTuningOptions {
  RunOptions run;
  std::string init;
};

void fine_tune(const FineTuningOptions& options, TaskFactory task, const MpiSession& mpi) {
  const Config config = read_sft_config(options.run.config, options.run.overrides, options.init);
  if (task == dpo_task && !options.run.trace.empty())
    fail_usage(
        "--trace is for pretrain and sft, whose loss is a weighted sum of cross-entropies; that of "
        "preference pairs is none");
  options.run.check_trace();
  const TrainResult result = train_on_ranks(config, mpi,
                                            {.resume = options.run.resume,
                                             .trace = options.run.trace,
                                             .task = task,
                                             .trained = sft_trained(config.lora)},
                                            to_toml(config) + options.run.agreed());
  if (mpi.rank() > 0) return;
  std::printf("%s: step %lld of %lld, saved as %s%s\n", result.stopped ? "stopped" : "done",
              static_cast<long long>(result.step), static_cast<long long>(result.steps),
              printable(result.checkpoint.string()).c_str(),
              result.stopped ? "; go on with --resume" : "");
}

}  // namespace

void add_fine_tuning_command(Command app, const MpiSession& session, const char* name,
                             const char* description, TaskFactory task) {
  auto options = std::make_shared<FineTuningOptions>();
  const Command command = app.add_subcommand(name, description);
  options->run.add_to(command, /*config_first=*/false);
  command.add_option("checkpoint,--init,--checkpoint", options->init,
                     str("what to start from: ", kCheckpointHelp, " [train.init]"));
  command.footer(
      "Configuration, with defaults; a [model] that is left out is the checkpoint's, and "
      "data.sequence_length\nis the longest example:\n\n" +
      config_help());
  command.callback([options, task, &session] { fine_tune(*options, task, session); });
}

}  // namespace lacuna
