#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

// CLI11 is costly to compile (10 to 15 seconds a file): command_line.cpp alone includes it.
namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace lacuna {

/// An option, flag or positional argument of a command. A handle, copied like a pointer. The
/// functions return the same option, so that calls chain.
class Option {
 public:
  explicit Option(CLI::Option& option) : option_(&option) {}

  Option required() const;
  /// --help shows the variable's present value as the default.
  Option show_default() const;
  /// The other option must be given too, or must not.
  Option needs(Option other) const;
  Option excludes(Option other) const;
  /// Of a list: each use takes one value. Otherwise a use takes all values up to the next option.
  Option one_value_per_use() const;

  // What a value must be. --help shows it, but for whole_number() and check().

  Option one_of(const std::vector<std::string>& words) const;
  Option between(std::int64_t least, std::int64_t most) const;
  Option positive() const;
  /// From 0, for every core, to more than any machine has.
  Option thread_count() const;
  /// For variables of 64-bit unsigned integers: without it, CLI11 converts -1 and what is too large
  /// to some other number.
  Option whole_number() const;
  /// A number of bytes, as 1048576, 24GB or 80GiB; all units are powers of 1024.
  Option byte_size() const;
  /// `mistake` returns what is wrong with a value, or "".
  Option check(const std::function<std::string(const std::string& value)>& mistake) const;

 private:
  CLI::Option* option_;
};

/// The program, or a subcommand. A handle, copied like a pointer.
class Command {
 public:
  explicit Command(CLI::App& app) : app_(&app) {}

  std::string name() const;
  std::vector<Command> subcommands() const;
  Command add_subcommand(const std::string& name, const std::string& help) const;
  /// One subcommand must be given.
  void require_subcommand() const;

  /// `names` are those of the option and, without dashes, of the positional argument:
  /// "config,--config". The variable holds the default, and must live until the command has run.
  /// T is std::string, a vector of them, int, std::int64_t, std::uint64_t or double, or the
  /// optional of a number.
  template <class T>
  Option add_option(const std::string& names, T& variable, const std::string& help) const;
  Option add_flag(const std::string& name, bool& variable, const std::string& help) const;
  /// Text at the end of --help.
  void footer(const std::string& text) const;

  /// Called when the command's name is met, before what follows it is parsed.
  void before_parsing(const std::function<void()>& function) const;
  /// Called when all is parsed.
  void callback(const std::function<void()>& function) const;

 private:
  CLI::App* app_;
};

class CommandLine {
 public:
  CommandLine(const std::string& program, const std::string& description);
  /// Without --help. What is not among the added options is ignored.
  static CommandLine of_some_options();
  CommandLine(CommandLine&&) noexcept;
  ~CommandLine();

  Command program() const { return Command(*app_); }
  void add_version(const std::string& version);

  /// Parses argv[1] and what follows, and calls the callbacks. Returns the text that --help or
  /// --version asks for instead, otherwise "". UsageError: names the nearest known word for one
  /// that is unknown, and everything that is missing.
  std::string run(int argc, const char* const* argv);

 private:
  std::unique_ptr<CLI::App> app_;
};

}  // namespace lacuna
