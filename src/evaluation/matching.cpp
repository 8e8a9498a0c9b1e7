#include "evaluation/matching.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "core/check.h"
#include "core/text.h"
#include "evaluation/last_number.h"

namespace lacuna {
namespace {

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  return text;
}

bool same_number(const std::string& output, const std::string& answer) {
  const auto a = last_number(output), b = last_number(answer);
  if (!a || !b) return false;
  return *a == *b || std::abs(*a - *b) <= 1e-6 * std::max(1.0, std::abs(*b));
}

/// A pattern as a message shows it.
std::string shown(const std::string& pattern) {
  constexpr std::size_t kMost = 200;
  return printable(pattern.size() <= kMost ? pattern : pattern.substr(0, kMost) + "…");
}

}  // namespace

Matcher::Matcher(const TaskSection& task) : rule_(task.match), ignore_case_(task.ignore_case) {
  if (rule_ != MatchRule::regex) return;
  try {
    pattern_.emplace(task.pattern, CompiledPattern::Units::utf8);
  } catch (const Error& e) {
    fail_usage(str("task.pattern = ", shown(task.pattern), ": ", e.what()));
  }
  if (pattern_->groups() == 0)
    fail_usage(str("task.pattern = ", shown(task.pattern), ": has no group (…) to compare"));
}

std::optional<std::string> Matcher::find(const std::string& output) {
  const std::string text = valid_utf8(output);
  std::span<const std::size_t> found;
  try {
    found = pattern_->search(text, 0, scratch_);
  } catch (const PatternLimitError&) {
    ++unfinished_searches_;
  }
  if (found.empty()) return std::nullopt;
  for (std::size_t group = 1; group <= pattern_->groups(); ++group) {
    const std::size_t begin = found[2 * group], end = found[2 * group + 1];
    if (begin != CompiledPattern::kUnset && end > begin) return text.substr(begin, end - begin);
  }
  return "";
}

bool Matcher::operator()(const std::string& output, const std::string& answer) {
  if (rule_ == MatchRule::number) return same_number(output, answer);
  std::string found = output, wanted = trimmed(answer);
  if (rule_ == MatchRule::regex) {
    const auto group = find(output);
    if (!group) return false;
    found = *group;
  }
  found = trimmed(found);
  if (ignore_case_) {
    found = lower(found);
    wanted = lower(wanted);
  }
  if (rule_ == MatchRule::substring) return found.find(wanted) != std::string::npos;
  return found == wanted;
}

}  // namespace lacuna
