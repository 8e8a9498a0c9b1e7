#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace lacuna {

/// One property of this machine or this program.
struct ReportRow {
  std::string key;               // "cores"
  nlohmann::ordered_json value;  // for --json
  std::string text;              // for people
};
struct ReportSection {
  std::string name;  // "memory"
  std::vector<ReportRow> rows;
};
/// Something that some commands need.
struct Requirement {
  std::string commands;    // "pretrain, sft on several ranks"
  std::string missing;     // what is not here; "" when the commands can run
  std::string remedy;      // how to get it
  bool essential = false;  // nothing can be trained or sampled without it
};
struct MachineReport {
  std::vector<ReportSection> sections;
  std::vector<Requirement> requirements;
  std::vector<std::string> warnings;
};

/// Looks at the machine and loads the libraries that commands load; trains and allocates nothing.
MachineReport inspect_machine();

}  // namespace lacuna
