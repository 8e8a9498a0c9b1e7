#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "config/task.h"
#include "tokenizer/compiled_pattern.h"

namespace lacuna {

/// Whether outputs answer as wanted, by task.match, pattern and ignore_case:
///   exact      output = answer, without white space (Python's) around them
///   substring  the answer occurs in the output
///   regex      what the pattern finds in the output = answer: of its first match the first group
///              that is not empty. The pattern is PCRE2's, with the meaning of Python's `re`
///              (CompiledPattern); bytes of the output that are not UTF-8 are U+FFFD to it
///   number     the last number of the output = the last of the answer (last_number.h), to 1e-6 of
///              its size
class Matcher {
 public:
  /// Throws UsageError for a pattern that cannot be compiled or has no group.
  explicit Matcher(const TaskSection& task);

  bool operator()(const std::string& output, const std::string& answer);
  /// Outputs in which the pattern's search took too many steps; they are not right.
  std::int64_t unfinished_searches() const { return unfinished_searches_; }

 private:
  std::optional<std::string> find(const std::string& output);

  MatchRule rule_;
  bool ignore_case_;
  std::optional<CompiledPattern> pattern_;
  PatternScratch scratch_;
  std::int64_t unfinished_searches_ = 0;
};

}  // namespace lacuna
