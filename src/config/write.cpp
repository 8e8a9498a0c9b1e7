#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "config/task.h"
#include "config/words.h"

namespace lacuna {
namespace {

struct Line {
  std::string key, value, meaning;
};

template <class Section>
std::vector<Line> lines_of(const Section& section) {
  std::vector<Line> lines;
  Section::fields(section, [&](const auto& value, const char* key, const char* meaning) {
    lines.push_back({key, toml_value(value), meaning});
  });
  return lines;
}

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text;
}

}  // namespace

std::string toml_string(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04X", byte);
      quoted += escape;
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string toml_value(std::int64_t value) { return std::to_string(value); }
std::string toml_value(std::uint64_t value) { return std::to_string(value); }

std::string toml_value(bool value) { return value ? "true" : "false"; }

std::string toml_value(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  std::string text(digits, end);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string toml_value(const StepCount& value) {
  return value.is_share() ? toml_value(value.share()) : toml_value(value.steps());
}

namespace {

template <class Root>
std::string toml_of(const Root& config) {
  std::string text;
  Root::sections(config, [&](const auto& section, const char* name) {
    text += (text.empty() ? "[" : "\n[") + std::string(name) + "]\n";
    for (const Line& line : lines_of(section)) text += line.key + " = " + line.value + "\n";
  });
  return text;
}

template <class Root>
std::string help_of() {
  std::size_t key_width = 0, value_width = 0;
  const Root defaults;
  Root::sections(defaults, [&](const auto& section, const char*) {
    for (const Line& line : lines_of(section)) {
      key_width = std::max(key_width, line.key.size());
      value_width = std::max(value_width, line.value.size());
    }
  });
  std::string text;
  Root::sections(defaults, [&](const auto& section, const char* name) {
    text += (text.empty() ? "[" : "\n[") + std::string(name) + "]\n";
    for (const Line& line : lines_of(section))
      text += padded(line.key, key_width) + " = " + padded(line.value, value_width) + "  # " +
              line.meaning + "\n";
  });
  return text;
}

}  // namespace

std::string to_toml(const Config& config) { return toml_of(config); }
std::string to_toml(const TaskConfig& task) { return toml_of(task); }
std::string config_help() { return help_of<Config>(); }
std::string task_help() { return help_of<TaskConfig>(); }

}  // namespace lacuna
