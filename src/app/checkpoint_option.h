#pragma once
#include <CLI/App.hpp>
#include <string>

namespace lacuna {

/// What resolve_checkpoint() takes, for --help.
inline constexpr const char* kCheckpointHelp =
    "a checkpoint (.h5), a run's folder (its newest checkpoint) or a Hugging Face folder";

/// --checkpoint, which may also be the first argument: `lacuna sample runs/kjv`.
inline CLI::Option* add_checkpoint_option(CLI::App& command, std::string& checkpoint) {
  return command.add_option("checkpoint,--checkpoint", checkpoint, kCheckpointHelp)->required();
}

}  // namespace lacuna
