#include "app/command_line.h"

#include <optional>

#include "core/check.h"
#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

/// A subcommand `x` with the options that `add` gives it.
std::string run(const std::function<void(Command)>& add, std::vector<const char*> arguments) {
  CommandLine line("lacuna", "What it is for.");
  line.add_version("lacuna 9");
  line.program().require_subcommand();
  add(line.program().add_subcommand("x", "What x does"));
  arguments.insert(arguments.begin(), "/some/where/lacuna");
  return line.run(int(arguments.size()), arguments.data());
}

std::string mistake(const std::function<void(Command)>& add, std::vector<const char*> arguments) {
  return error_of<UsageError>([&] { run(add, arguments); });
}

/// "" where `rule` allows the value of --n, else what is wrong with it.
template <class T>
std::string mistake_of_value(const char* value, Option (*rule)(Option)) {
  T variable{};
  const auto add = [&](Command x) { rule(x.add_option("--n", variable, "")); };
  try {
    run(add, {"x", "--n", value});
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(CommandLine, ConvertsToTheTypeOfTheVariable) {
  std::string text;
  std::vector<std::string> list;
  int i = 0;
  std::int64_t l = 0;
  std::uint64_t u = 0;
  double d = 0;
  bool given = false, absent = false;
  std::optional<int> oi, none;
  std::optional<std::int64_t> ol;
  std::optional<std::uint64_t> ou;
  std::optional<double> od;
  const auto add = [&](Command x) {
    x.add_option("text,--text", text, "");
    x.add_option("--list", list, "");
    x.add_option("--int", i, "");
    x.add_option("--long", l, "");
    x.add_option("--unsigned", u, "");
    x.add_option("--double", d, "");
    x.add_option("--oi", oi, "");
    x.add_option("--none", none, "");
    x.add_option("--ol", ol, "");
    x.add_option("--ou", ou, "");
    x.add_option("--od", od, "");
    x.add_flag("--given", given, "");
    x.add_flag("--absent", absent, "");
  };
  run(add, {"x",
            "words with spaces",
            "--list",
            "a",
            "b",
            "--int",
            "-3",
            "--long=-4294967296",
            "--unsigned",
            "18446744073709551615",
            "--double",
            "2.5e-3",
            "--given",
            "--oi",
            "1",
            "--ol",
            "4294967296",
            "--ou",
            "9223372036854775808",
            "--od",
            "0.5"});
  EXPECT_EQ(text, "words with spaces");
  EXPECT_EQ(list, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(i, -3);
  EXPECT_EQ(l, -4294967296);
  EXPECT_EQ(u, 18446744073709551615u);
  EXPECT_EQ(d, 2.5e-3);
  EXPECT_TRUE(given);
  EXPECT_FALSE(absent);
  EXPECT_EQ(oi, 1);
  EXPECT_EQ(none, std::nullopt);
  EXPECT_EQ(ol, 4294967296);
  EXPECT_EQ(ou, 9223372036854775808u);
  EXPECT_EQ(od, 0.5);
  EXPECT_TRUE(contains(mistake(add, {"x", "--int", "3.5"}), "3.5"));
  EXPECT_TRUE(contains(mistake(add, {"x", "--double", "x"}), "--double"));
}

TEST(CommandLine, ValuesAreChecked) {
  const auto of_int = mistake_of_value<std::int64_t>;
  const auto between = [](Option n) { return n.between(1, std::int64_t{1} << 32); };
  EXPECT_EQ(of_int("1", between), "");
  EXPECT_EQ(of_int("4294967296", between), "");
  EXPECT_EQ(of_int("0", between), "--n: Value 0 not in range 1 to 4294967296 (lacuna x --help)");
  EXPECT_TRUE(contains(of_int("4294967297", between), "not in range"));
  const auto positive = [](Option n) { return n.positive(); };
  EXPECT_EQ(mistake_of_value<double>("0.1", positive), "");
  EXPECT_TRUE(contains(mistake_of_value<double>("0", positive), "--n: "));
  EXPECT_TRUE(contains(mistake_of_value<double>("-1", positive), "--n: "));
  const auto threads = [](Option n) { return n.thread_count(); };
  EXPECT_EQ(of_int("0", threads), "");
  EXPECT_TRUE(contains(of_int("-1", threads), "not in range 0 to 1024"));
  const auto whole = [](Option n) { return n.whole_number(); };
  const auto of_unsigned = mistake_of_value<std::uint64_t>;
  EXPECT_EQ(of_unsigned("18446744073709551615", whole), "");
  for (const char* wrong : {"-1", "18446744073709551616", "1.5", "1 ", "0x10"})
    EXPECT_TRUE(contains(of_unsigned(wrong, whole), "is not a whole number from 0 to 2^64 - 1"));
  const auto word = [](Option n) { return n.one_of({"red", "blue"}); };
  EXPECT_EQ(mistake_of_value<std::string>("blue", word), "");
  EXPECT_TRUE(contains(mistake_of_value<std::string>("green", word), "green not in {red,blue}"));
  const auto own = [](Option n) {
    return n.check([](const std::string& value) { return value == "3" ? "three is taken" : ""; });
  };
  EXPECT_EQ(of_int("2", own), "");
  EXPECT_EQ(of_int("3", own), "--n: three is taken (lacuna x --help)");
}

TEST(CommandLine, BytesHaveUnitsOfPowersOf1024) {
  for (const auto& [text, bytes] : {std::pair{"7", 7ull},
                                    {"2kb", 2048ull},
                                    {"2KiB", 2048ull},
                                    {"80GiB", 80ull << 30},
                                    {"24GB", 24ull << 30}}) {
    std::optional<std::uint64_t> memory;
    run([&](Command x) { x.add_option("--memory", memory, "").byte_size(); },
        {"x", "--memory", text});
    EXPECT_EQ(memory, bytes) << text;
  }
}

TEST(CommandLine, WhatGoesTogether) {
  std::string a, b, c;
  std::vector<std::string> each;
  const auto add = [&](Command x) {
    x.add_option("--a", a, "").required();
    const Option second = x.add_option("--b", b, "");
    x.add_option("--c", c, "").needs(second);
    x.add_option("--d", c, "").excludes(second);
    x.add_option("--each", each, "").one_value_per_use();
  };
  run(add, {"x", "--a", "1", "--b", "2", "--c", "3", "--each", "p", "--each", "q"});
  EXPECT_EQ(each, (std::vector<std::string>{"p", "q"}));
  EXPECT_TRUE(contains(mistake(add, {"x", "--a", "1", "--each", "p", "q"}), "'q' is one argument"));
  EXPECT_EQ(mistake(add, {"x"}), "--a is required (lacuna x --help)");
  EXPECT_EQ(mistake(add, {"x", "--a", "1", "--c", "3"}), "--c requires --b (lacuna x --help)");
  const std::string both = mistake(add, {"x", "--a", "1", "--b", "2", "--d", "3"});
  EXPECT_TRUE(both.starts_with("--b excludes --d") || both.starts_with("--d excludes --b")) << both;
}

TEST(CommandLine, HelpAndVersionAreReturned) {
  int n = 7;
  bool called = false;
  const auto add = [&](Command x) {
    x.add_option("n,--number", n, "how many").between(1, 9).show_default();
    x.add_option("--thing", n, "with a unit");
    x.footer("The end.");
    x.callback([&] { called = true; });
  };
  const std::string help = run(add, {"x", "--help"});
  for (const char* part : {"What x does\nUsage: lacuna x [OPTIONS] [n]\n", "how many",
                           "INT:INT in [1 - 9]=7", "The end.\n"})
    EXPECT_TRUE(contains(help, part)) << help;
  EXPECT_FALSE(contains(help, "[1 - 9]=7 with")) << help;
  EXPECT_TRUE(
      contains(run(add, {"--help"}), "What it is for.\nUsage: lacuna [OPTIONS] SUBCOMMAND"));
  EXPECT_EQ(run(add, {"--version"}), "lacuna 9\n");
  EXPECT_FALSE(called);
  EXPECT_EQ(run(add, {"x", "3"}), "");
  EXPECT_TRUE(called);
  EXPECT_EQ(n, 3);
}

TEST(CommandLine, BeforeParsingComesBeforeMistakesAreFound) {
  CommandLine line("lacuna", "");
  line.program().add_subcommand("x", "");
  std::vector<std::string> met;
  for (const Command command : line.program().subcommands())
    command.before_parsing([&met, name = command.name()] { met.push_back(name); });
  const char* arguments[] = {"lacuna", "x", "--unknown"};
  EXPECT_THROW(line.run(3, arguments), UsageError);
  EXPECT_EQ(met, std::vector<std::string>{"x"});
}

TEST(CommandLine, OfSomeOptionsIgnoresTheRest) {
  CommandLine line = CommandLine::of_some_options();
  std::string config;
  line.program().add_option("--config", config, "").required();
  const char* arguments[] = {"sft", "--init", "x", "--help", "--config", "c.toml", "--more"};
  EXPECT_EQ(line.run(7, arguments), "");
  EXPECT_EQ(config, "c.toml");
}

}  // namespace
}  // namespace lacuna::testing
