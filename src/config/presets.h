#pragma once
#include <span>
#include <string_view>

namespace lacuna {

/// A configuration that comes with the program.
struct Preset {
  std::string_view name;  // "quickstart"
  std::string_view toml;  // the file configs/<name>.toml, with its comments
};
/// All of them; src/config/CMakeLists.txt lists their names.
std::span<const Preset> presets();

}  // namespace lacuna
