#pragma once
#include <string>
#include <vector>

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

inline constexpr const char* kAdapterHelp =
    "low-rank adapters beside it: a folder as PEFT saves them, or a run or checkpoint of lacuna "
    "sft "
    "with lora.rank";

/// --adapter, which may be left out.
inline Option add_adapter_option(Command command, std::string& adapter) {
  return command.add_option("--adapter", adapter, kAdapterHelp);
}
/// As ModelSource takes it.
inline std::vector<std::string> adapters_of(const std::string& adapter) {
  return adapter.empty() ? std::vector<std::string>() : std::vector{adapter};
}

}  // namespace lacuna
