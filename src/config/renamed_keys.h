#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace lacuna {

struct KeyName {
  std::string section, key;
  std::string values = {};  // what an old value is now, where values changed too
};

/// The name of today of a key that an earlier version had; none for every other key. Checkpoints
/// written with the old name are read by it; elsewhere the old name is an error that states the new
/// one.
std::optional<KeyName> renamed_key(std::string_view section, std::string_view key);

/// The word of today for one that an earlier version had as a value of `key` ("model.attention");
/// every other word is returned as it is. Both are read everywhere.
std::string_view renamed_word(std::string_view key, std::string_view word);

}  // namespace lacuna
