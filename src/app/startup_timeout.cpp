#include "app/startup_timeout.h"

#include <cmath>
#include <exception>
#include <string_view>

#include "app/command_line.h"
#include "app/run_options.h"
#include "config/config.h"
#include "core/input_file.h"

namespace lacuna {

double startup_timeout(int argc, const char* const* argv) {
  const double otherwise = ParallelConfig{}.timeout;
  if (argc < 2) return otherwise;
  try {
    RunOptions options;
    CommandLine line = CommandLine::of_some_options();
    options.add_to(line.program(), /*config_first=*/std::string_view(argv[1]) == "pretrain");
    line.run(argc - 1, argv + 1);  // from the subcommand on
    // A pipe can be read once, which the command will do.
    Config config = parse_config(read_file(options.config), options.config);
    for (const std::string& text : options.overrides) apply_override(config, text);
    const double timeout = config.parallel.timeout;
    return std::isfinite(timeout) && timeout >= 0 ? timeout : otherwise;
  } catch (const std::exception&) {
    return otherwise;
  }
}

}  // namespace lacuna
