#include "evaluation/task_text.h"

#include <algorithm>
#include <utility>

namespace lacuna {
namespace {

/// Calls write(text) for what stands outside braces and field(name) for each {name}, in order.
template <class Write, class Field>
void parse(const std::string& text, Write&& write, Field&& field) {
  std::string run;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c == '{' || c == '}') && i + 1 < text.size() && text[i + 1] == c) {
      run += c;
      ++i;
      continue;
    }
    const std::size_t close = c == '{' ? text.find('}', i) : std::string::npos;
    if (close == std::string::npos) {
      run += c;
      continue;
    }
    write(std::exchange(run, {}));
    field(text.substr(i + 1, close - i - 1));
    i = close;
  }
  write(run);
}

}  // namespace

TaskText TaskText::written(std::string text) {
  TaskText result;
  result.append({std::move(text), false});
  return result;
}

TaskText TaskText::from_record(std::string text) {
  TaskText result;
  result.append({std::move(text), true});
  return result;
}

std::string TaskText::string() const {
  std::string all;
  for (const Part& part : parts_) all += part.text;
  return all;
}

void TaskText::append(const Part& part) {
  if (part.text.empty()) return;
  if (parts_.empty() || parts_.back().from_record != part.from_record)
    parts_.push_back(part);
  else
    parts_.back().text += part.text;
}

TaskText& TaskText::operator+=(const TaskText& more) {
  for (const Part& part : more.parts_) append(part);
  return *this;
}

TaskText fill_in(const std::string& text, const Record& record,
                 const std::map<std::string, TaskText>& given) {
  TaskText filled;
  parse(
      text,
      [&](const std::string& run) {
        filled.append({run, false});
      },
      [&](const std::string& field) {
        if (const auto found = given.find(field); found != given.end())
          filled += found->second;
        else
          filled.append({record.text(field), true});
      });
  return filled;
}

std::vector<std::string> fields_of(const std::string& text) {
  std::vector<std::string> fields;
  parse(
      text, [](const std::string&) {}, [&](const std::string& field) { fields.push_back(field); });
  return fields;
}

bool names_field(const std::string& text, const std::string& field) {
  const std::vector<std::string> fields = fields_of(text);
  return std::find(fields.begin(), fields.end(), field) != fields.end();
}

}  // namespace lacuna
