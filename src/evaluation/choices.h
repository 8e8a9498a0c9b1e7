#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "config/task.h"
#include "evaluation/record.h"

namespace lacuna {

/// The number of the choice that a text names; -1 when it names none. In this order: its label, the
/// choice itself (then both without white space around them), its letter ("B", "b", "(B)", "B."),
/// its number from 0.
std::int64_t choice_named(const std::string& answer, const std::vector<std::string>& choices,
                          const std::vector<std::string>& labels = {});

/// The choices of a record, and which is right. An answer that is one field with a JSON integer is
/// an index from 0, whatever the choices say; any other is a text, as choice_named takes it. Error
/// naming the record's place when the answer is none of them, and for fewer than 2 choices.
struct Choices {
  std::vector<std::string> texts;
  std::size_t right = 0;
};
Choices choices_of(const TaskSection& task, const Record& record);

}  // namespace lacuna
