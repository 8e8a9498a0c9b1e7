#include "evaluation/choices.h"

#include <algorithm>
#include <cstdlib>

#include "core/check.h"
#include "core/text.h"
#include "evaluation/task_text.h"

namespace lacuna {
namespace {

std::int64_t place_in(const std::vector<std::string>& list, const std::string& text) {
  const auto found = std::find(list.begin(), list.end(), text);
  return found == list.end() ? -1 : found - list.begin();
}

std::vector<std::string> all_trimmed(std::vector<std::string> texts) {
  for (std::string& text : texts) text = trimmed(text);
  return texts;
}

/// 0 for "A", "(a)", "A."…; -1 for anything else.
std::int64_t letter_index(std::string_view text) {
  while (!text.empty() && (text.front() == '(' || text.front() == '[')) text.remove_prefix(1);
  while (!text.empty() &&
         (text.back() == ')' || text.back() == ']' || text.back() == '.' || text.back() == ':'))
    text.remove_suffix(1);
  if (text.size() != 1) return -1;
  if (text[0] >= 'A' && text[0] <= 'Z') return text[0] - 'A';
  return text[0] >= 'a' && text[0] <= 'z' ? text[0] - 'a' : -1;
}

std::int64_t number_from_0(const std::string& text) {
  const bool digits =
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits && !text.empty() && text.size() <= 9 ? std::atoll(text.c_str()) : -1;
}

/// The field of a text that is "{field}" and nothing else; "" of others.
std::string only_field(const std::string& text) {
  const std::vector<std::string> fields = fields_of(text);
  return fields.size() == 1 && text == "{" + fields[0] + "}" ? fields[0] : "";
}

}  // namespace

std::int64_t choice_named(const std::string& answer, const std::vector<std::string>& choices,
                          const std::vector<std::string>& labels) {
  const std::string text = trimmed(answer);
  if (const auto i = place_in(labels, answer); i >= 0) return i;
  if (const auto i = place_in(all_trimmed(labels), text); i >= 0) return i;
  if (const auto i = place_in(choices, answer); i >= 0) return i;
  if (const auto i = place_in(all_trimmed(choices), text); i >= 0) return i;
  const auto n = std::int64_t(choices.size());
  for (const std::int64_t i : {letter_index(text), number_from_0(text)})
    if (i >= 0 && i < n) return i;
  return -1;
}

Choices choices_of(const TaskSection& task, const Record& record) {
  Record::Labelled listed = record.labelled(task.choices);
  const auto n = std::int64_t(listed.texts.size());
  CHECK(n >= 2, record.place(), ": has ", counted(n, "choice"), "; there must be at least 2");
  const std::string field = only_field(task.answer);
  if (!field.empty()) {
    if (const auto index = record.integer(field)) {
      CHECK(*index >= 0 && *index < n, record.place(), ": the answer ", *index,
            " is no index of its ", n, " choices, which are numbered from 0");
      return {std::move(listed.texts), std::size_t(*index)};
    }
  }
  const std::string answer = fill_in(task.answer, record).string();
  const std::int64_t right = choice_named(answer, listed.texts, listed.labels);
  CHECK(right >= 0, record.place(), ": the answer \"", answer, "\" is none of its choices");
  return {std::move(listed.texts), std::size_t(right)};
}

}  // namespace lacuna
