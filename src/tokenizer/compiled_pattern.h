#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/check.h"

namespace lacuna {

/// A search that took more steps or memory than a sensible pattern needs.
struct PatternLimitError : Error {
  explicit PatternLimitError(const std::string& what, Where at = here()) : Error(what, at) {}
};

/// What a search needs beside the pattern; a thread's own, and good for any pattern.
struct PatternScratch {
  std::shared_ptr<void> match_data, match_context, jit_stack;
  std::size_t pairs = 0;  // of offsets that match_data has room for
};

/// A pattern compiled by PCRE2, whose searches are bounded: a pattern that backtracks without end,
/// or nests too deep, ends in an Error, never in a crash or a wait. Immutable.
class CompiledPattern {
 public:
  enum class Units : std::uint8_t {
    bytes,  // a character is a byte
    // Patterns and subjects are UTF-8 and mean what they mean to Python's `re` with str: \w, \d, \s
    // and \b know Unicode, "." is any character but \n, and \uXXXX is a character.
    utf8,
  };
  /// Throws Error saying what is wrong and where, without the pattern itself.
  CompiledPattern(std::string_view pattern, Units units);

  /// Capturing groups, the whole match not counted.
  std::size_t groups() const { return groups_; }
  /// The first match in `subject` at or after byte `from`: [begin, end) of it and of each group, as
  /// pairs of byte offsets (kUnset for a group that took no part); empty when there is none. Valid
  /// until the next search with `scratch`. Throws PatternLimitError, and Error for a subject that
  /// is not UTF-8.
  std::span<const std::size_t> search(std::string_view subject, std::size_t from,
                                      PatternScratch& scratch) const;
  static constexpr std::size_t kUnset = ~std::size_t{0};

 private:
  std::shared_ptr<void> code_;
  std::size_t groups_ = 0;
};

}  // namespace lacuna
