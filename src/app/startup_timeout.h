#pragma once

namespace lacuna {

/// parallel.timeout of the run that a command line begins: how long the ranks of a job may take to
/// come together, which is before the command line is parsed for good. The default where the
/// command has no configuration or it cannot be read; what is wrong with it is reported later.
double startup_timeout(int argc, const char* const* argv);

}  // namespace lacuna
