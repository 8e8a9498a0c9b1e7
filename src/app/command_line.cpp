#include "app/command_line.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <charconv>
#include <optional>
#include <sstream>

#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

std::string mistake_of_whole_number(const std::string& text) {
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc() && rest == end) return "";
  return str("'", text, "' is not a whole number from 0 to 2^64 - 1");
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
  const std::string name = word.substr(0, word.find('=')), near = nearest(name, known);
  if (what == "argument") return str("'", word, "' is one argument too many");
  return str("there is no ", what, " '", name, "'",
             near.empty() ? "" : "; the nearest is '" + near + "'");
}

/// What is missing, all of it.
std::string mistake_of_lack(const CLI::App& command) {
  std::vector<std::string> lacking;
  for (const CLI::Option* option : command.get_options())
    if (option->get_required() && option->count() == 0) lacking.push_back(option->get_name());
  if (lacking.empty()) {
    if (subcommand_names(command).empty()) return "";
    return "a subcommand is required: " + listed(subcommand_names(command), "or");
  }
  return listed(lacking, "and") + (lacking.size() == 1 ? " is" : " are") + " required";
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
  fail_usage(str(mistake, " (", full_name(command), " --help)"));
}

}  // namespace

Option Option::required() const { return Option(*option_->required()); }
Option Option::show_default() const { return Option(*option_->capture_default_str()); }
Option Option::needs(Option other) const { return Option(*option_->needs(other.option_)); }
Option Option::excludes(Option other) const { return Option(*option_->excludes(other.option_)); }
Option Option::one_value_per_use() const { return Option(*option_->allow_extra_args(false)); }

Option Option::one_of(const std::vector<std::string>& words) const {
  return Option(*option_->check(CLI::IsMember(words)));
}
Option Option::between(std::int64_t least, std::int64_t most) const {
  return Option(*option_->check(CLI::Range(least, most)));
}
Option Option::positive() const { return Option(*option_->check(CLI::PositiveNumber)); }
Option Option::thread_count() const { return between(0, 1024); }
Option Option::whole_number() const { return check(mistake_of_whole_number); }
Option Option::byte_size() const {
  return Option(*option_->transform(CLI::AsSizeValue(/*kb_is_1000=*/false)));
}
Option Option::check(const std::function<std::string(const std::string&)>& mistake) const {
  return Option(*option_->check(CLI::Validator(mistake, "")));
}

std::string Command::name() const { return app_->get_name(); }

std::vector<Command> Command::subcommands() const {
  std::vector<Command> commands;
  for (CLI::App* command : app_->get_subcommands({})) commands.emplace_back(*command);
  return commands;
}

Command Command::add_subcommand(const std::string& name, const std::string& help) const {
  return Command(*app_->add_subcommand(name, help));
}

void Command::require_subcommand() const { app_->require_subcommand(1); }

template <class T>
Option Command::add_option(const std::string& names, T& variable, const std::string& help) const {
  return Option(*app_->add_option(names, variable, help));
}
template Option Command::add_option(const std::string&, std::string&, const std::string&) const;
template Option Command::add_option(const std::string&, std::vector<std::string>&,
                                    const std::string&) const;
template Option Command::add_option(const std::string&, int&, const std::string&) const;
template Option Command::add_option(const std::string&, std::int64_t&, const std::string&) const;
template Option Command::add_option(const std::string&, std::uint64_t&, const std::string&) const;
template Option Command::add_option(const std::string&, double&, const std::string&) const;
template Option Command::add_option(const std::string&, std::optional<int>&,
                                    const std::string&) const;
template Option Command::add_option(const std::string&, std::optional<std::int64_t>&,
                                    const std::string&) const;
template Option Command::add_option(const std::string&, std::optional<std::uint64_t>&,
                                    const std::string&) const;
template Option Command::add_option(const std::string&, std::optional<double>&,
                                    const std::string&) const;

Option Command::add_flag(const std::string& name, bool& variable, const std::string& help) const {
  return Option(*app_->add_flag(name, variable, help));
}

void Command::footer(const std::string& text) const { app_->footer(text); }

void Command::before_parsing(const std::function<void()>& function) const {
  app_->preparse_callback([function](std::size_t) { function(); });
}

void Command::callback(const std::function<void()>& function) const { app_->callback(function); }

CommandLine::CommandLine(const std::string& program, const std::string& description)
    : app_(std::make_unique<CLI::App>(description, program)) {}

CommandLine CommandLine::of_some_options() {
  CommandLine line("", "");
  line.app_->set_help_flag();
  line.app_->allow_extras();
  return line;
}

CommandLine::CommandLine(CommandLine&&) noexcept = default;
CommandLine::~CommandLine() = default;

void CommandLine::add_version(const std::string& version) {
  app_->set_version_flag("--version", version);
}

std::string CommandLine::run(int argc, const char* const* argv) {
  try {
    app_->parse(argc, argv);
  } catch (const CLI::Success& request) {  // --help, --version
    std::ostringstream text;
    app_->exit(request, text);
    return text.str();
  } catch (const CLI::ParseError& error) {
    explain(*app_, error);
  }
  return "";
}

}  // namespace lacuna
