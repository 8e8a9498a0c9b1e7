#include "app/run_options.h"

namespace lacuna {

void RunOptions::add_to(CLI::App& command) {
  command.add_option("--config", config, "the configuration, TOML (keys below)")->required();
  command
      .add_option("--set", overrides,
                  "section.key=value instead of what the configuration says; may be repeated")
      ->allow_extra_args(false);
  command.add_flag("--resume", resume,
                   "go on from the newest valid checkpoint of train.output; begin if there is none "
                   "yet");
}

}  // namespace lacuna
