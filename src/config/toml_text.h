#pragma once
// For the .cpp files of config/ alone: TOML as toml++ reads it.
#include <toml++/toml.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lacuna {

/// Throws UsageError with file, line and column.
toml::table parse_toml(const std::string& text, const std::string& name);
/// A table with the one key "value", from the text of a TOML value. Throws UsageError that begins
/// with `where`.
toml::table parse_toml_value(const std::string& value, const std::string& where);
/// toml++ sorts tables by key; in the order of the file, the first mistake is reported first.
std::vector<std::pair<const toml::key*, const toml::node*>> in_file_order(const toml::table& table);
/// For a message: "the string 'x'", "the integer 3".
std::string described(const toml::node& node);
/// The elements of "a, b" or "[a, b]", trimmed; commas within quotes separate nothing. Throws
/// UsageError that begins with `where` for an empty element.
std::vector<std::string> list_elements(std::string_view text, const std::string& where);

/// "a, b".
std::string comma_list(const std::vector<std::string>& words);
/// The elements of "a,b" as earlier versions wrote it: without brackets, quotes or errors.
std::vector<std::string> comma_separated(std::string_view text);

}  // namespace lacuna
