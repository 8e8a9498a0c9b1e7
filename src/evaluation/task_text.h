#pragma once
#include <map>
#include <string>
#include <vector>

#include "evaluation/record.h"

namespace lacuna {

/// A text of a task with fields filled in. What the task's author wrote and what came from a record
/// are kept apart: special tokens are tokens in the one and ordinary text in the other.
class TaskText {
 public:
  struct Part {
    std::string text;
    bool from_record = false;
  };

  TaskText() = default;
  /// What an author wrote, as it is.
  static TaskText written(std::string text);
  static TaskText from_record(std::string text);

  const std::vector<Part>& parts() const { return parts_; }
  /// All of it.
  std::string string() const;
  void append(const Part& part);
  TaskText& operator+=(const TaskText& more);

 private:
  std::vector<Part> parts_;
};

/// `text` with each {field} replaced by what `given` has for it, else by the record's; "{{" and
/// "}}" are braces. Error naming the record's place for a field it lacks.
TaskText fill_in(const std::string& text, const Record& record,
                 const std::map<std::string, TaskText>& given = {});
/// The fields that `text` names, in order.
std::vector<std::string> fields_of(const std::string& text);
bool names_field(const std::string& text, const std::string& field);

}  // namespace lacuna
