#pragma once
#include <string>

#include "app/command_line.h"

namespace lacuna {

/// What resolve_checkpoint() takes, for --help.
inline constexpr const char* kCheckpointHelp =
    "a checkpoint (.h5), a run's folder (its newest checkpoint), a Hugging Face folder or a GGUF "
    "file; @ema after either of the first two: the moving average of its weights";

/// --checkpoint, which may also be the first argument: `lacuna sample runs/kjv`.
inline Option add_checkpoint_option(Command command, std::string& checkpoint) {
  return command.add_option("checkpoint,--checkpoint", checkpoint, kCheckpointHelp).required();
}

}  // namespace lacuna
