#pragma once
#include <CLI/Validators.hpp>
#include <charconv>
#include <cstdint>
#include <string>

#include "core/check.h"

namespace lacuna {

/// More threads than any machine has cores; asking for more is a slip.
inline constexpr int kMostThreads = 1024;

/// For --threads; 0 is every core.
inline CLI::Range thread_count() { return {0, kMostThreads}; }

/// For options read as 64-bit unsigned integers: CLI11 takes -1, and what is too large, as some
/// other number.
inline CLI::Validator whole_number() {
  return {[](const std::string& text) -> std::string {
            std::uint64_t value = 0;
            const char* end = text.data() + text.size();
            const auto [rest, error] = std::from_chars(text.data(), end, value);
            if (error == std::errc() && rest == end) return "";
            return str("'", text, "' is not a whole number from 0 to 2^64 - 1");
          },
          ""};
}

}  // namespace lacuna
