#include <algorithm>
#include <memory>
#include <string>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/machine_report.h"
#include "app/standard_io.h"
#include "core/check.h"
#include "core/json.h"
#include "core/text.h"

namespace lacuna {
namespace {

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text;
}

/// "instruction_sets" as people read it.
std::string words_of(std::string key) {
  std::replace(key.begin(), key.end(), '_', ' ');
  return key;
}

std::string text_of(const MachineReport& report) {
  std::string text;
  std::size_t width = 0;
  for (const ReportSection& section : report.sections)
    for (const ReportRow& row : section.rows) width = std::max(width, row.key.size());
  for (const ReportSection& section : report.sections) {
    text += section.name + "\n";
    for (const ReportRow& row : section.rows)
      text += "  " + padded(words_of(row.key), width + 2) + printable_line(row.text) + "\n";
  }
  text += "commands\n";
  for (const Requirement& r : report.requirements) {
    const bool ready = r.missing.empty();
    text += std::string(ready ? "  ok       " : "  missing  ") + r.commands + "\n";
    if (ready) continue;
    text += "           needs   " + printable_line(r.missing) + "\n";
    text += "           get it  " + printable_line(r.remedy) + "\n";
  }
  for (const std::string& warning : report.warnings)
    text += "warning: " + printable_line(warning) + "\n";
  return text;
}

std::string json_of(const MachineReport& report) {
  nlohmann::ordered_json json;
  for (const ReportSection& section : report.sections)
    for (const ReportRow& row : section.rows) json[section.name][row.key] = row.value;
  json["commands"] = nlohmann::ordered_json::array();
  for (const Requirement& r : report.requirements)
    json["commands"].push_back({{"commands", r.commands},
                                {"ready", r.missing.empty()},
                                {"missing", r.missing},
                                {"remedy", r.missing.empty() ? "" : r.remedy}});
  json["warnings"] = report.warnings;
  return json_text(json, 2) + "\n";
}

void doctor(bool json) {
  const MachineReport report = inspect_machine();
  StandardOutput out;
  out.write(json ? json_of(report) : text_of(report));
  out.flush();
  for (const Requirement& r : report.requirements)
    if (r.essential && !r.missing.empty()) fail(r.missing + " is missing: " + r.remedy);
}

}  // namespace

void add_doctor_command(Command app) {
  auto json = std::make_shared<bool>(false);
  const Command command = app.add_subcommand(
      "doctor", "What this machine has, which kernels will run, and what is missing for what");
  command.add_flag("--json", *json, "a JSON object instead of lines");
  command.footer("Exit code 1 when something is missing without which nothing can be computed.");
  command.callback([json] { doctor(*json); });
}

}  // namespace lacuna
