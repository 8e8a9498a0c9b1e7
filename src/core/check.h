#pragma once
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

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
  explicit Error(const std::string& what, Where at = here());
  Where where;
};

/// A mistake in the command line or the configuration: exit code 2.
struct UsageError : Error {
  // Not `using Error::Error`: nvcc 13 fails on an inherited default argument like here().
  explicit UsageError(const std::string& what, Where at = here());
};

/// A part of a message: text, a character, a number, or a value of a type that has a text_of().
/// Refers to what it was made of. Messages are written all over the program and seldom printed: a
/// MessagePart costs the code that makes it two stores, and joined() does the rest.
class MessagePart {
 public:
  MessagePart(std::string_view text) : kind_(Kind::text), text_(text) {}
  MessagePart(const char* text) : MessagePart(std::string_view(text)) {}
  MessagePart(const std::string& text) : MessagePart(std::string_view(text)) {}
  MessagePart(char character) : kind_(Kind::character), character_(character) {}
  /// Six significant digits.
  MessagePart(double number) : kind_(Kind::number), number_(number) {}
  /// A bool is 0 or 1.
  template <class T, std::enable_if_t<std::is_integral_v<T>, int> = 0>
  MessagePart(T integer)
      : kind_(std::is_signed_v<T> ? Kind::integer : Kind::whole), integer_(integer) {}
  template <class T, class = decltype(text_of(std::declval<const T&>()))>
  MessagePart(const T& value)
      : kind_(Kind::value), value_{&value, [](const void* v) {
                                     return std::string(text_of(*static_cast<const T*>(v)));
                                   }} {}

 private:
  friend std::string joined(std::initializer_list<MessagePart> parts);

  enum class Kind { text, character, number, integer, whole, value };
  struct Value {
    const void* value;
    std::string (*text)(const void* value);
  };
  Kind kind_;
  union {
    std::string_view text_;
    char character_;
    double number_;
    std::int64_t integer_;  // of Kind::whole, the bits of a std::uint64_t
    Value value_;
  };
};

std::string joined(std::initializer_list<MessagePart> parts);

/// The parts, one after another: str("rank ", 3) is "rank 3".
template <class... Parts>
[[gnu::always_inline]] inline std::string str(const Parts&... parts) {
  return joined({MessagePart(parts)...});
}

[[noreturn]] void fail(const std::string& what, Where at = here());
[[noreturn]] void fail_usage(const std::string& what, Where at = here());

}  // namespace lacuna

/// CHECK(condition, parts…): throws Error with the parts as its message when the condition is
/// false.
#define CHECK(condition, ...)                     \
  do {                                            \
    if (!(condition)) [[unlikely]]                \
      ::lacuna::fail(::lacuna::str(__VA_ARGS__)); \
  } while (0)
