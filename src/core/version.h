#pragma once

namespace lacuna {

/// "lacuna 0.1.0": the program and the version in the top CMakeLists.txt.
const char* program_version();

}  // namespace lacuna
