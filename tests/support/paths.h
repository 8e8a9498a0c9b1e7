#pragma once
#include <string>

namespace lacuna::testing {

// Where the checkout and its build are. They are in one generated file (paths.cpp.in) instead of on
// every command line, so that a compiler cache serves every checkout.

/// tests/golden/`name`.
std::string golden_path(const std::string& name);
/// A file or folder of the checkout.
std::string source_path(const std::string& name);
/// The program, lacuna.
std::string program_path();

}  // namespace lacuna::testing
