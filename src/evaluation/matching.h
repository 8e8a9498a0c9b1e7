#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/task.h"
#include "evaluation/record.h"

namespace lacuna {

/// The last number in a text: 1,234.5 is 1234.5, and "$" or "%" beside it count for nothing.
std::optional<double> last_number(const std::string& text);

/// Whether an output answers as wanted, by task.match, pattern and ignore_case:
///   exact      output = answer, without white space around them
///   substring  the answer occurs in the output
///   regex      the first group of the first match of pattern in the output = answer
///   number     the last number of the output = the last of the answer, to 1e-6 of its size
/// Throws UsageError for a pattern that is no ECMAScript regular expression with a group.
bool matches(const TaskSection& task, const std::string& output, const std::string& answer);

/// The number of the choice that an answer names: its number from 0, its letter, or its text
/// itself; -1 for none of these.
std::int64_t choice_index(const std::string& answer, const std::vector<std::string>& choices);

/// The choices of a record, and which is right. Error naming the record's place when the answer is
/// none of them.
struct Choices {
  std::vector<std::string> texts;
  std::size_t right = 0;
};
Choices choices_of(const TaskSection& task, const Record& record);

}  // namespace lacuna
