#include "app/run_options.h"

#include <filesystem>

#include "core/check.h"

namespace lacuna {

void RunOptions::add_to(Command command, bool config_first) {
  command
      .add_option(config_first ? "config,--config" : "--config", config,
                  "the configuration, TOML (keys below)")
      .required();
  command
      .add_option("--set", overrides,
                  "section.key=value instead of what the configuration says; may be repeated")
      .one_value_per_use();
  command.add_flag("--resume", resume,
                   "go on from the newest valid checkpoint of train.output; begin if there is none "
                   "yet");
  command
      .add_option("--trace", trace,
                  "HDF5 file to write the first step's batch, weights and gradients to")
      .check([](const std::string& path) { return path.empty() ? "names no file" : ""; });
}

void RunOptions::check_trace() const {
  if (trace.empty()) return;
  const auto folder = std::filesystem::path(trace).parent_path();
  if (!folder.empty() && !std::filesystem::is_directory(folder))
    fail_usage("--trace " + trace + ": there is no folder " + folder.string());
  if (std::filesystem::is_directory(trace)) fail_usage("--trace " + trace + ": is a folder");
}

std::string RunOptions::agreed() const {
  return str("--resume ", resume, "\n--trace ", trace, "\n");
}

}  // namespace lacuna
