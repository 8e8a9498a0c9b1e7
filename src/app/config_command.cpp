#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/config_check.h"
#include "app/standard_io.h"
#include "config/config.h"
#include "config/presets.h"
#include "core/atomic_file.h"
#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

struct ConfigOptions {
  std::string preset, output;
  bool checking = false;  // the subcommand was given
  CheckRequest check;
};

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Preset& preset : presets()) names.emplace_back(preset.name);
  return names;
}

std::string text_of(const std::string& preset) {
  for (const Preset& known : presets())
    if (known.name == preset) return std::string(known.toml);
  return config_help();
}

void print_config(const ConfigOptions& options) {
  const std::string text = text_of(options.preset);
  if (options.output.empty()) {
    StandardOutput out;
    out.write(text);
    return out.flush();
  }
  if (std::filesystem::exists(options.output))
    fail_usage("--output " + options.output + ": is there already; choose another name");
  write_file(options.output, text);
}

const char* word_of(Finding::Verdict verdict) {
  switch (verdict) {
    case Finding::Verdict::ok:
      return "ok";
    case Finding::Verdict::warning:
      return "warning";
    case Finding::Verdict::error:
      return "error";
  }
  fail("unknown verdict");
}

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text;
}

void print_findings(const std::vector<Finding>& findings) {
  std::size_t width = 0;
  for (const Finding& f : findings) width = std::max(width, f.subject.size());
  StandardOutput out;
  for (const Finding& f : findings)
    out.write(padded(word_of(f.verdict), 9) + padded(f.subject, width + 2) +
              printable_line(f.text) + "\n");
  out.flush();
}

void check_config(const CheckRequest& request) {
  const std::vector<Finding> findings = check_run(request);
  print_findings(findings);
  std::int64_t errors = 0;
  bool usage = false;
  for (const Finding& f : findings) {
    errors += f.verdict == Finding::Verdict::error;
    usage |= f.usage;
  }
  if (errors == 0) return;
  const std::string summary = str(request.config, ": ", counted(errors, "error"));
  if (usage) fail_usage(summary);
  fail(summary);
}

}  // namespace

void add_config_command(Command app) {
  auto options = std::make_shared<ConfigOptions>();
  const Command command = app.add_subcommand(
      "config",
      "Print a commented configuration to begin with, or check one (lacuna config check)");
  command
      .add_option("--preset", options->preset,
                  "the configuration of a task and a size; without: every key with its default")
      .one_of(preset_names());
  command.add_option("--output", options->output, "file to write it to [standard output]");
  command.callback([options] {
    if (!options->checking) print_config(*options);
  });

  const Command check = command.add_subcommand(
      "check", "Check a configuration and the files and the machine that it names, before it runs");
  CheckRequest& request = options->check;
  check.add_option("config,--config", request.config, "the configuration, TOML").required();
  check
      .add_option("--set", request.overrides,
                  "section.key=value instead of what the configuration says; may be repeated")
      .one_value_per_use();
  check
      .add_option("--task", request.task,
                  "what it is for [sft where data.train was prepared with --format chat, dpo with "
                  "--format preference]")
      .one_of(all_words<RunTask>());
  check.add_option("--init", request.init, "sft, dpo: the checkpoint to start from [train.init]");
  check.add_option("--ranks", request.ranks, "ranks in all [parallel.tensor_parallel]")
      .between(1, 1 << 20);
  check
      .add_option("--memory", request.memory,
                  "of a rank's device: 80GiB, 24GB (of 2^30 bytes) [79GiB, what an 80 GB GPU has; "
                  "of a CPU this machine's share]")
      .byte_size();
  check.add_flag("--resume", request.resume, "train.output may hold a run");
  check.footer(
      "A line for each thing that was looked at. Exit code 0: no error; 1: a file is missing or "
      "damaged, or the\nrun does not fit; 2: the configuration itself is wrong.");
  check.callback([options] {
    options->checking = true;
    check_config(options->check);
  });
}

}  // namespace lacuna
