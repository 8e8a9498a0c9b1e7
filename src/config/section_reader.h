#pragma once
// For the .cpp files of config/ and its tests: reads TOML and overrides into any struct that lists
// its sections and fields as Config does.
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "config/renamed_keys.h"
#include "config/toml_text.h"
#include "config/words.h"
#include "core/check.h"
#include "core/text.h"

namespace lacuna {

/// Who wrote a text: a person, or this program, perhaps of an earlier version.
enum class Origin : std::uint8_t { user, stored };

/// Puts a TOML value into a field of the config; an Error says what was found and what is wanted.
class Assign {
 public:
  Assign(const toml::node& node, std::string where, std::string key, Origin origin)
      : node_(node), where_(std::move(where)), key_(std::move(key)), origin_(origin) {}

  void operator()(std::int64_t& field) const {
    if (const auto* integer = node_.as_integer()) {
      field = **integer;
      return;
    }
    std::string hint;
    if (const auto* number = node_.as_floating_point())
      if (const double x = **number; std::floor(x) == x && std::fabs(x) < 0x1p53)
        hint = str("; write ", std::int64_t(x));
    wrong("an integer", hint);
  }
  void operator()(std::uint64_t& field) const {
    const auto* integer = node_.as_integer();
    if (!integer || **integer < 0) wrong("an integer, 0 or more");
    field = std::uint64_t(**integer);
  }
  void operator()(double& field) const {
    if (const auto* number = node_.as_floating_point())
      field = **number;
    else if (const auto* integer = node_.as_integer())
      field = double(**integer);
    else
      wrong("a number");
  }
  void operator()(StepCount& field) const {
    if (const auto* integer = node_.as_integer())
      field = **integer;
    else if (const auto* number = node_.as_floating_point())
      field = **number;
    else
      wrong("a number of steps, or a share of the run below 1.0");
  }
  void operator()(bool& field) const {
    const auto* boolean = node_.as_boolean();
    if (!boolean) wrong("true or false");
    field = **boolean;
  }
  void operator()(std::string& field) const {
    const auto* text = node_.as_string();
    if (!text) wrong("a string in quotes");
    field = **text;
  }
  void operator()(Texts& field) const {
    if (const auto* text = node_.as_string()) {
      field = **text;
      return;
    }
    if (!node_.as_array()) wrong("a string in quotes or a list of them");
    (*this)(field.all);
    std::erase(field.all, "");
  }
  template <class E>
  requires std::is_enum_v<E>
  void operator()(E& field) const {
    if (const auto* text = node_.as_string()) {
      if (const std::optional<E> value = parse_word<E>(renamed_word(key_, **text))) {
        field = *value;
        return;
      }
    }
    wrong(words_of<E>());
  }

  /// An element of a list of tables: what it does not name keeps its default.
  template <Record T>
  void operator()(T& record) const {
    const toml::table* entries = node_.as_table();
    if (!entries) wrong("a table such as " + toml_value(T{}));
    for (const auto& [entry, value] : in_file_order(*entries)) {
      bool found = false;
      T::fields(record, [&, &e = *entry, &v = *value](auto& field, const char* name, const char*) {
        if (e.str() != name) return;
        found = true;
        Assign(v, where_, key_ + '.' + name, origin_)(field);
      });
      if (!found)
        fail_usage(str(where_, key_, ": unknown key '", std::string(entry->str()), "'; known are ",
                       comma_list(keys_of<T>())));
    }
  }

  template <class T>
  void operator()(std::vector<T>& field) const {
    if constexpr (std::is_same_v<T, std::string>)
      if (const auto* text = node_.as_string()) {
        const std::vector<std::string> words = comma_separated(**text);
        if (origin_ == Origin::user) wrong("a list of strings", "; write " + toml_value(words));
        field = words;  // earlier versions wrote "q_proj,v_proj"
        return;
      }
    const auto* array = node_.as_array();
    if (!array) wrong("a list of " + kind_of_elements(field));
    field.clear();
    for (std::size_t i = 0; i < array->size(); ++i) {
      T element{};
      Assign((*array)[i], where_, str(key_, '[', i, ']'), origin_)(element);
      field.push_back(std::move(element));
    }
  }

 private:
  [[noreturn]] void wrong(const std::string& wanted, const std::string& hint = "") const {
    fail_usage(str(where_, key_, " must be ", wanted, "; found ", described(node_), hint));
  }
  static std::string kind_of_elements(const std::vector<std::int64_t>&) { return "integers"; }
  static std::string kind_of_elements(const std::vector<double>&) { return "numbers"; }
  static std::string kind_of_elements(const std::vector<std::string>&) { return "strings"; }
  template <class E>
  static std::string kind_of_elements(const std::vector<E>&) {
    if constexpr (Record<E>)
      return "tables such as " + toml_value(E{});
    else
      return words_of<E>();
  }

  const toml::node& node_;
  std::string where_, key_;
  Origin origin_;
};

// Root: Config, TaskConfig.
template <class Root>
std::vector<std::string> section_names_of() {
  std::vector<std::string> names;
  Root any;
  Root::sections(any, [&](auto&, const char* name) { names.emplace_back(name); });
  return names;
}

template <class Root>
std::vector<std::string> every_key() {
  std::vector<std::string> keys;
  Root any;
  Root::sections(any, [&](auto& section, const char*) {
    for (const std::string& key : keys_of<std::decay_t<decltype(section)>>()) keys.push_back(key);
  });
  return keys;
}

/// The section that has `key`, or "".
template <class Root>
std::string section_with(std::string_view key) {
  std::string found;
  Root any;
  Root::sections(any, [&](auto& section, const char* name) {
    for (const std::string& known : keys_of<std::decay_t<decltype(section)>>())
      if (known == key) found = name;
  });
  return found;
}

/// Calls use(field) for the field of that name. UsageError, beginning with `where`, when there is
/// none.
template <class Root, class Use>
void with_field(Root& config, const std::string& section_name, const std::string& key,
                const std::string& where, Use&& use) {
  bool found = false;
  std::vector<std::string> known;
  Root::sections(config, [&](auto& section, const char* name) {
    using Section = std::decay_t<decltype(section)>;
    if (section_name != name) return;
    known = keys_of<Section>();
    Section::fields(section, [&](auto& field, const char* field_name, const char*) {
      if (key != field_name) return;
      found = true;
      use(field);
    });
  });
  if (found) return;
  if (const auto now = renamed_key(section_name, key))
    fail_usage(str(where, section_name, '.', key, " is now ", now->section, '.', now->key,
                   now->values.empty() ? "" : "; ", now->values));
  const std::string near = nearest(key, known), owner = section_with<Root>(key);
  const std::string far = nearest(key, every_key<Root>());
  fail_usage(where + "unknown key '" + key + "' in [" + section_name + "]" +
             (!owner.empty()  ? "; it belongs in [" + owner + "]"
              : !near.empty() ? "; the nearest known is '" + near + "'"
              : !far.empty()
                  ? "; the nearest known is '" + far + "' in [" + section_with<Root>(far) + "]"
                  : "; known are " + comma_list(known)));
}

template <class Root>
void check_section(const std::string& name, const std::string& where) {
  const std::vector<std::string> known = section_names_of<Root>();
  if (std::find(known.begin(), known.end(), name) != known.end()) return;
  const std::string near = nearest(name, known), owner = section_with<Root>(name);
  fail_usage(where + "unknown section [" + name + "]" +
             (!owner.empty()  ? "; '" + name + "' is a key of [" + owner + "]"
              : !near.empty() ? "; the nearest known is [" + near + "]"
                              : "; known are " + comma_list(known)));
}

template <class Root>
Root parse_root(const std::string& text, const std::string& name, Origin origin) {
  Root config;
  const auto at = [&](const toml::source_region& region) {
    return str(name, ':', region.begin.line, ':', region.begin.column, ": ");
  };
  const toml::table table = parse_toml(text, name);
  for (const auto& [section_key, node] : in_file_order(table)) {
    const std::string section(section_key->str());
    check_section<Root>(section, at(section_key->source()));
    const toml::table* entries = node->as_table();
    if (!entries)
      fail_usage(str(at(section_key->source()), "[", section, "] must be a section; found ",
                     described(*node)));
    for (const auto& [entry, value] : in_file_order(*entries)) {
      KeyName key{section, std::string(entry->str())};
      if (origin == Origin::stored) key = renamed_key(key.section, key.key).value_or(key);
      with_field(config, key.section, key.key, at(entry->source()),
                 [&, &v = *value, &k = key](auto& field) {
                   Assign(v, at(v.source()), k.section + '.' + k.key, origin)(field);
                 });
    }
  }
  return config;
}

/// As TOML, in which words and texts have quotes and lists brackets.
template <class T>
std::string override_value(const T&, const std::string& value, const std::string&) {
  const bool is_word = std::is_same_v<T, std::string> || std::is_enum_v<T>;
  const bool quoted = value.starts_with('"') || value.starts_with('\'');
  return is_word && !quoted ? toml_string(value) : value;
}
template <class T>
std::string override_value(const std::vector<T>&, const std::string& value,
                           const std::string& where) {
  if constexpr (Record<T>) return value.starts_with('[') ? value : "[" + value + "]";
  std::string list;
  for (const std::string& element : list_elements(value, where))
    list += (list.empty() ? "" : ", ") + override_value(T{}, element, where);
  return "[" + list + "]";
}

template <class Root>
void override_root(Root& config, const std::string& override_text) {
  const std::string where = "--set " + override_text + ": ";
  const auto equals = override_text.find('=');
  const std::string name = trimmed(override_text.substr(0, equals));
  const auto dot = name.find('.');
  if (equals == std::string::npos || dot == std::string::npos || dot == 0 ||
      dot + 1 == name.size() || name.find('.', dot + 1) != std::string::npos)
    fail_usage(where + "must be section.key=value");
  const std::string section = name.substr(0, dot), key = name.substr(dot + 1);
  const std::string value = trimmed(override_text.substr(equals + 1));
  check_section<Root>(section, where);
  with_field(config, section, key, where, [&](auto& field) {
    const toml::table table = parse_toml_value(override_value(field, value, where), where);
    Assign(*table.get("value"), where, name, Origin::user)(field);
  });
}

}  // namespace lacuna
