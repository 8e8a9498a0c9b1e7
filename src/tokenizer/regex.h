#pragma once
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/compiled_pattern.h"
#include "tokenizer/regex_parser.h"

namespace lacuna {

/// What a search needs beside the pattern; a thread's own.
struct RegexScratch {
  std::vector<unsigned char> symbols;
  PatternScratch pattern;
};

/// A pattern with the meaning that Oniguruma gives it over Unicode 16, as the `tokenizers` package
/// has it, on any version of PCRE2. PCRE2 does the matching, but of one-byte symbols: two
/// characters have the same symbol when no set of the pattern tells them apart, and each set
/// becomes a class of symbols. What a letter, number or space is thus does not depend on PCRE2's
/// own tables (of another version of Unicode), and classes stay bit maps in compiled code.
class Regex {
 public:
  /// Throws Error, quoting the pattern, for what parse_regex refuses.
  explicit Regex(const std::string& pattern);
  /// Matches `text` itself.
  static Regex literal(const std::string& text);

  const std::string& pattern() const { return pattern_; }

 private:
  friend class RegexMatches;
  Regex(std::string pattern, const ParsedRegex& parsed);

  // text as symbols, one for each character.
  void transcribe(std::string_view text, std::vector<unsigned char>& symbols) const;

  std::string pattern_;
  std::vector<std::uint16_t> block_of_;  // of 256 characters, by the first
  std::vector<unsigned char> symbol_of_;
  std::optional<CompiledPattern> code_;
};

/// The matches of a pattern in a text (valid UTF-8) from left to right, none within another. An
/// empty match counts, unless it touches the end of the match before it.
class RegexMatches {
 public:
  RegexMatches(const Regex& regex, std::string_view text, RegexScratch& scratch);
  /// The next one's bytes, [begin, end); false when there is none. Throws Error when the search
  /// takes too many steps.
  bool next(std::size_t& begin, std::size_t& end);

 private:
  std::span<const std::size_t> search();
  std::size_t bytes_up_to(std::size_t symbol);

  const Regex& regex_;
  std::string_view text_;
  RegexScratch& scratch_;
  std::size_t from_ = 0;  // symbols, where the search goes on
  std::size_t last_end_;  // symbols, of the last match
  std::size_t at_symbol_ = 0, at_byte_ = 0;
};

}  // namespace lacuna
