#include <cstdio>
#include <memory>
#include <string>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/inspect_report.h"
#include "app/standard_io.h"
#include "core/check.h"

namespace lacuna {
namespace {

struct Arguments {
  std::string path;
  bool tensors = false, verify = false, config = false, tokenizer = false;
};

void print(const std::string& text) {
  StandardOutput out;
  out.write(text);
  out.flush();
}

void run(const Arguments& a) {
  if (a.path.empty()) fail_usage("no file was named");
  const InspectReport report = inspect(a.path, a.verify);
  if (a.config) {
    CHECK(!report.config.empty(), report.path, ": is ", report.kind, ", which holds no config");
    print(report.config);
  } else if (a.tokenizer) {
    CHECK(!report.tokenizer.empty(), report.path, ": is ", report.kind, " that holds no tokenizer");
    print(report.tokenizer);
  } else {
    print(to_text(report, a.tensors));
  }
  if (report.damaged.empty()) return;
  std::string list;
  for (const std::string& dataset : report.damaged) list += (list.empty() ? "" : ", ") + dataset;
  fail(str(report.path, ": damaged: ", list,
           report.damaged.size() == 1 ? " does not match its checksum"
                                      : " do not match their checksums"));
}

}  // namespace

void add_inspect_command(Command app) {
  auto a = std::make_shared<Arguments>();
  const Command command = app.add_subcommand("inspect", "Say what a checkpoint or data file holds");
  command
      .add_option(
          "file", a->path,
          "checkpoint, token file, other HDF5 file, safetensors or GGUF file, a run's folder "
          "(its newest checkpoint), a Hugging Face folder or any folder of safetensors")
      .required();
  command.add_flag("--tensors", a->tensors, "list every tensor: shape, dtype, bytes");
  command.add_flag("--verify", a->verify, "read everything and compare the checksums");
  const Option config =
      command.add_flag("--config", a->config, "print a checkpoint's config (TOML) alone");
  command.add_flag("--tokenizer", a->tokenizer, "print the tokenizer.json held alone")
      .excludes(config);
  command.callback([a] { run(*a); });
}

}  // namespace lacuna
