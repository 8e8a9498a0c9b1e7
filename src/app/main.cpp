#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <csignal>
#include <string>
#include <vector>

#include "app/commands.h"
#include "app/startup_timeout.h"
#include "comm/mpi_session.h"
#include "core/check.h"
#include "core/text.h"
#include "core/version.h"

namespace {

/// Every other command would do all its work once per rank, and write the same files.
void refuse_several_ranks(CLI::App& app, const lacuna::MpiSession& session) {
  for (CLI::App* command : app.get_subcommands({})) {
    const std::string name = command->get_name();
    if (name == "pretrain" || name == "sft") continue;
    command->preparse_callback([name, ranks = session.size()](std::size_t) {
      if (ranks > 1)
        lacuna::fail_usage(lacuna::str("lacuna ", name, " runs on one rank, and ", ranks,
                                       " were started; pretrain and sft run on many"));
    });
  }
}

const CLI::App& innermost(const CLI::App& app) {
  const auto parsed = app.get_subcommands();
  return parsed.empty() ? app : innermost(*parsed.front());
}

/// "lacuna tokenizer train".
std::string full_name(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return parent ? full_name(*parent) + " " + command.get_name() : command.get_name();
}

std::vector<std::string> subcommand_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* known : command.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(known->get_name());
  return names;
}

std::string mistake_of_word(const CLI::App& command, const std::string& word) {
  std::vector<std::string> known = subcommand_names(command);
  std::string what = known.empty() ? "argument" : "subcommand";
  if (word.starts_with("-")) {
    what = "option";
    known.clear();
    for (const CLI::Option* option : command.get_options())
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  }
  const std::string name = word.substr(0, word.find('=')), near = lacuna::nearest(name, known);
  if (what == "argument") return lacuna::str("'", word, "' is one argument too many");
  return lacuna::str("there is no ", what, " '", name, "'",
                     near.empty() ? "" : "; the nearest is '" + near + "'");
}

/// What is missing, all of it.
std::string mistake_of_lack(const CLI::App& command) {
  std::vector<std::string> lacking;
  for (const CLI::Option* option : command.get_options())
    if (option->get_required() && option->count() == 0) lacking.push_back(option->get_name());
  if (lacking.empty()) {
    if (subcommand_names(command).empty()) return "";
    return "a subcommand is required: " + lacuna::listed(subcommand_names(command), "or");
  }
  return lacuna::listed(lacking, "and") + (lacking.size() == 1 ? " is" : " are") + " required";
}

/// CLI11 stops at the first thing that is missing, and says so even where it was misspelt.
[[noreturn]] void explain(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& command = innermost(app);
  const std::vector<std::string> unknown = app.remaining(/*recurse=*/true);
  std::string mistake;
  if (!unknown.empty())
    mistake = mistake_of_word(command, unknown.front());
  else if (dynamic_cast<const CLI::RequiredError*>(&error))
    mistake = mistake_of_lack(command);
  if (mistake.empty()) mistake = error.what();
  lacuna::fail_usage(lacuna::str(mistake, " (", full_name(command), " --help)"));
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file at its size limit is an error like a full disk
  const auto run = [&](lacuna::MpiSession& session) {
    CLI::App app("Masked-diffusion language models: train them, sample from them.", "lacuna");
    app.require_subcommand(1);
    app.set_version_flag("--version", lacuna::program_version());
    lacuna::add_tokenizer_command(app);
    lacuna::add_plan_command(app);
    lacuna::add_prepare_command(app);
    lacuna::add_pretrain_command(app, session);
    lacuna::add_sft_command(app, session);
    lacuna::add_sample_command(app);
    lacuna::add_score_command(app);
    lacuna::add_evaluate_command(app);
    lacuna::add_forward_command(app);
    lacuna::add_import_command(app);
    lacuna::add_export_command(app);
    lacuna::add_inspect_command(app);
    lacuna::add_bench_command(app);
    refuse_several_ranks(app, session);
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& e) {  // --help, --version
      return session.rank() == 0 ? app.exit(e) : 0;
    } catch (const CLI::ParseError& e) {
      explain(app, e);
    }
    return 0;
  };
  return lacuna::run_ranks(run, lacuna::startup_timeout(argc, argv));
}
