#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "tokenizer/unicode.h"

namespace lacuna {

struct RegexFlags {
  bool ignore_case = false;  // (?i)
  bool dot_is_any = false;   // (?m), as Ruby and Oniguruma have it: . is the end of a line, too
};

/// A pattern (valid UTF-8) as it is read.
class RegexInput {
 public:
  explicit RegexInput(std::string_view pattern) : pattern_(pattern) {}

  bool at_end() const { return at_ == pattern_.size(); }
  CodePoint peek() const {
    return decode_utf8(pattern_.data() + at_, utf8_length_of_lead(pattern_[at_]));
  }
  /// The next character. At the end: Error, which calls the pattern `unfinished`.
  CodePoint next(const char* unfinished);
  /// Whether `text` comes next, which it then passes over.
  bool take(std::string_view text);
  bool take(char c) { return take(std::string_view(&c, 1)); }
  /// Throws Error: the pattern holds `what`, about here, and cannot be used.
  [[noreturn]] void refuse(const std::string& what) const;

 private:
  std::string_view pattern_;
  std::size_t at_ = 0;
};

/// One character, or any of a set.
struct ClassItem {
  std::optional<CodePoint> character;
  CodePointSet set;
};

/// "\n", "\x{1F600}", "\-", "\s", "\p{Lu}" …, from the backslash on.
ClassItem parse_escape(RegexInput& in);
/// "[…]", with ranges, nested classes, intersections (&&) and negation.
CodePointSet parse_class(RegexInput& in, RegexFlags flags);
/// The set with the other cases of its letters, where the flags say so.
CodePointSet fold_case(const CodePointSet& set, RegexFlags flags, const RegexInput& in);

}  // namespace lacuna
