#pragma once
#include <string>
#include <utility>
#include <vector>

namespace lacuna {

/// Texts of a configuration: in TOML a string or a list of strings. The empty string is none.
struct Texts {
  std::vector<std::string> all;

  Texts() = default;
  Texts(std::vector<std::string> texts) : all(std::move(texts)) {}  // NOLINT
  Texts(const std::string& text) {                                  // NOLINT
    if (!text.empty()) all.push_back(text);
  }
  Texts(const char* text) : Texts(std::string(text)) {}  // NOLINT
  bool operator==(const Texts&) const = default;
};

}  // namespace lacuna
