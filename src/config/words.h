#pragma once
// For the .cpp files of config/ alone: what a field's type is called, and its value as TOML.
#include <iterator>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "config/config.h"
#include "config/texts.h"

namespace lacuna {

/// A basic TOML string: quotes, backslashes and control characters are escaped.
std::string toml_string(std::string_view text);
std::string toml_value(std::int64_t value);
std::string toml_value(std::uint64_t value);
/// The shortest digits that read back as the same double; always with a point or an exponent.
std::string toml_value(double value);
std::string toml_value(bool value);
std::string toml_value(const StepCount& value);
inline std::string toml_value(const std::string& value) { return toml_string(value); }
template <class E>
requires std::is_enum_v<E> std::string toml_value(E value) { return toml_string(word_of(value)); }

/// An element of a list that has fields of its own.
template <class T>
concept Record = requires(T& record) {
  T::fields(record, [](auto&, const char*, const char*) {});
};
/// "{ path = "a", weight = 1.0 }".
template <Record T>
std::string toml_value(const T& record);

/// "[1, 2]", of whatever a field may be a list of.
template <class T>
std::string toml_value(const std::vector<T>& list) {
  std::string text;
  for (const T& value : list) text += (text.empty() ? "" : ", ") + toml_value(value);
  return "[" + text + "]";
}

inline std::string toml_value(const Texts& texts) {
  return texts.all.size() > 1 ? toml_value(texts.all)
                              : toml_string(texts.all.empty() ? "" : texts.all[0]);
}

template <Record T>
std::string toml_value(const T& record) {
  std::string text;
  T::fields(record, [&](const auto& value, const char* key, const char*) {
    text += (text.empty() ? "{ " : ", ") + std::string(key) + " = " + toml_value(value);
  });
  return text + " }";
}

/// "mpi or nccl".
template <class E>
std::string words_of() {
  std::string list;
  const int n = int(std::size(EnumWords<E>::words));
  for (int i = 0; i < n; ++i)
    list += std::string(i == 0 ? "" : i + 1 == n ? " or " : ", ") + EnumWords<E>::words[i];
  return list;
}

template <class Section>
std::vector<std::string> keys_of() {
  std::vector<std::string> keys;
  Section section;
  Section::fields(section,
                  [&](const auto&, const char* key, const char*) { keys.emplace_back(key); });
  return keys;
}
}  // namespace lacuna
