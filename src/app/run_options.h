#pragma once
#include <CLI/App.hpp>
#include <string>
#include <vector>

namespace lacuna {

/// --config, --set and --resume: which run of training a command begins or goes on with.
struct RunOptions {
  std::string config;
  std::vector<std::string> overrides;
  bool resume = false;

  /// Adds them to a command, which must not outlive this.
  void add_to(CLI::App& command);
};

}  // namespace lacuna
