#pragma once
#include <string>
#include <vector>

#include "app/command_line.h"

namespace lacuna {

/// --config, --set and --resume: which run of training a command begins or goes on with; and
/// --trace: where its first step is written to.
struct RunOptions {
  std::string config;
  std::vector<std::string> overrides;
  bool resume = false;
  std::string trace;

  /// Adds them to a command, which must not outlive this.
  /// `config_first`: the configuration may also be the first argument.
  void add_to(Command command, bool config_first);
  /// UsageError when no file can be made where the trace is to go: before hours of training.
  void check_trace() const;
  /// --resume and --trace, in which all ranks must agree, a line each.
  std::string agreed() const;
};

}  // namespace lacuna
