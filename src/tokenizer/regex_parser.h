#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/unicode.h"

namespace lacuna {

/// A pattern in which every character and class has become a set of characters, and the rest is
/// syntax that PCRE2 and Oniguruma understand alike.
struct ParsedRegex {
  struct Part {
    std::string syntax;  // "(?:", "|", "{1,3}"…
    int set = -1;        // or one character of sets[set]
  };
  std::vector<CodePointSet> sets;
  std::vector<Part> parts;
};

/// Reads a pattern in Oniguruma's syntax, which is what tokenizer.json files are written in:
/// https://github.com/kkos/oniguruma/blob/master/doc/RE. Groups only group. Throws Error, quoting
/// the pattern, for what is malformed and for what is left out: back-references, anchors, POSIX
/// brackets, conditions, and case-insensitive matching of anything but ASCII.
ParsedRegex parse_regex(std::string_view pattern);
/// The pattern that matches `text` and nothing else.
ParsedRegex literal_regex(std::string_view text);

}  // namespace lacuna
