#pragma once
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>

namespace lacuna {

/// Where a call was written. std::source_location is missing from clang 14, which clang-tidy uses.
struct Where {
  const char* file;
  int line;
};
constexpr Where here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return {file, line};
}

/// What went wrong, in one line for the user: which file, line, tensor or option, and what would be
/// right. The program ends with exit code 1 (2 for UsageError); LACUNA_DEBUG=1 prints `where` too.
struct Error : std::runtime_error {
  explicit Error(const std::string& what, Where at = here()) : runtime_error(what), where(at) {}
  Where where;
};

/// A mistake in the command line or the configuration: exit code 2.
struct UsageError : Error {
  // Not `using Error::Error`: nvcc 13 fails on an inherited default argument like here().
  explicit UsageError(const std::string& what, Where at = here()) : Error(what, at) {}
};

/// The parts, printed one after another: str("rank ", 3) is "rank 3".
template <class... Parts>
std::string str(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

[[noreturn]] inline void fail(const std::string& what, Where at = here()) { throw Error(what, at); }
[[noreturn]] inline void fail_usage(const std::string& what, Where at = here()) {
  throw UsageError(what, at);
}

}  // namespace lacuna

/// CHECK(condition, parts…): throws Error with the parts as its message when the condition is
/// false.
#define CHECK(condition, ...)                     \
  do {                                            \
    if (!(condition)) [[unlikely]]                \
      ::lacuna::fail(::lacuna::str(__VA_ARGS__)); \
  } while (0)
