#include "evaluation/matching.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <regex>

#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  return text;
}

std::optional<std::string> extract(const std::string& pattern, const std::string& output) {
  try {
    const std::regex expression(pattern);
    if (expression.mark_count() < 1)
      fail_usage(str("task.pattern = ", pattern, ": has no group (…) to compare"));
    std::smatch match;
    if (!std::regex_search(output, match, expression)) return std::nullopt;
    return match[1].str();
  } catch (const std::regex_error& e) {
    fail_usage(str("task.pattern = ", pattern, ": ", e.what()));
  }
}

}  // namespace

std::optional<double> last_number(const std::string& text) {
  std::optional<double> number;
  for (std::size_t i = 0; i < text.size();) {
    if (!is_digit(text[i])) {
      ++i;
      continue;
    }
    const bool negative = i > 0 && text[i - 1] == '-' && (i < 2 || !is_digit(text[i - 2]));
    std::string digits;
    bool point = false;
    for (; i < text.size(); ++i) {
      const bool before_digit = i + 1 < text.size() && is_digit(text[i + 1]);
      if (is_digit(text[i]))
        digits += text[i];
      else if (text[i] == '.' && !point && before_digit)
        point = true, digits += '.';
      else if (!(text[i] == ',' && !point && before_digit))
        break;
    }
    number = (negative ? -1 : 1) * std::strtod(digits.c_str(), nullptr);
  }
  return number;
}

bool matches(const TaskSection& task, const std::string& output, const std::string& answer) {
  if (task.match == MatchRule::number) {
    const auto a = last_number(output), b = last_number(answer);
    return a && b && std::abs(*a - *b) <= 1e-6 * std::max(1.0, std::abs(*b));
  }
  std::string found = output, wanted = trimmed(answer);
  if (task.match == MatchRule::regex) {
    const auto group = extract(task.pattern, output);
    if (!group) return false;
    found = *group;
  }
  found = trimmed(found);
  if (task.ignore_case) {
    found = lower(found);
    wanted = lower(wanted);
  }
  if (task.match == MatchRule::substring) return found.find(wanted) != std::string::npos;
  return found == wanted;
}

std::int64_t choice_index(const std::string& answer, const std::vector<std::string>& choices) {
  const auto n = std::int64_t(choices.size());
  const auto text = std::find(choices.begin(), choices.end(), answer);
  if (text != choices.end()) return text - choices.begin();
  if (!answer.empty() && answer.size() <= 3 &&
      std::all_of(answer.begin(), answer.end(), is_digit)) {
    const std::int64_t index = std::atoll(answer.c_str());
    return index < n ? index : -1;
  }
  if (answer.size() == 1 && answer[0] >= 'A' && answer[0] < 'A' + std::min<std::int64_t>(n, 26))
    return answer[0] - 'A';
  return -1;
}

Choices choices_of(const TaskSection& task, const Record& record) {
  Choices choices{record.list(task.choices), 0};
  const std::string answer = fill_in(task.answer, record);
  const std::int64_t right = choice_index(answer, choices.texts);
  CHECK(right >= 0, record.place(), ": the answer \"", answer, "\" is none of its choices");
  choices.right = std::size_t(right);
  return choices;
}

}  // namespace lacuna
