// Of structs with fields of every kind a list can hold; Config has not all of them.
#include "config/section_reader.h"

#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::error_of;

struct Lists {
  std::vector<std::int64_t> sizes;
  std::vector<double> weights = {0.5};
  std::vector<std::string> names;
  std::vector<Schedule> schedules;

  bool operator==(const Lists&) const = default;
  template <class Self, class Visitor>
  static void fields(Self& c, Visitor&& visit) {
    visit(c.sizes, "sizes", "");
    visit(c.weights, "weights", "");
    visit(c.names, "names", "");
    visit(c.schedules, "schedules", "");
  }
};
struct Root {
  Lists lists;
  template <class Self, class Visitor>
  static void sections(Self& c, Visitor&& visit) {
    visit(c.lists, "lists");
  }
};

Lists read(const std::string& toml) {
  return parse_root<Root>("[lists]\n" + toml, "x.toml", Origin::user).lists;
}
std::string mistake_in(const std::string& toml) {
  return error_of<UsageError>([&] { read(toml); });
}
Lists with(const std::string& text) {
  Root root;
  override_root(root, text);
  return root.lists;
}

TEST(SectionReader, lists_of_each_kind) {
  const Lists lists = read(
      "sizes = [3, -1, 0x10]\nweights = [1, 2.5,\n 1e-3]\nnames = [\"a\", 'b, c', \"\"]\n"
      "schedules = [\"wsd\", \"cosine\"]\n");
  const Lists expected{.sizes = {3, -1, 16},
                       .weights = {1, 2.5, 1e-3},
                       .names = {"a", "b, c", ""},
                       .schedules = {Schedule::wsd, Schedule::cosine}};
  EXPECT_EQ(lists, expected);
  EXPECT_EQ(toml_value(lists.sizes), "[3, -1, 16]");
  EXPECT_EQ(toml_value(lists.weights), "[1.0, 2.5, 0.001]");
  EXPECT_EQ(toml_value(lists.names), R"(["a", "b, c", ""])");
  EXPECT_EQ(toml_value(lists.schedules), R"(["wsd", "cosine"])");
  EXPECT_EQ(read("weights = []").weights, std::vector<double>{});  // not added to the default
}

TEST(SectionReader, an_element_of_another_type_is_named_by_its_index) {
  EXPECT_EQ(mistake_in("sizes = [1, 2.0]"),
            "x.toml:2:9: lists.sizes[1] must be an integer; found the number 2.0; write 2");
  EXPECT_EQ(mistake_in("names = ['a', 3]"),
            "x.toml:2:9: lists.names[1] must be a string in quotes; found the integer 3");
  EXPECT_EQ(mistake_in("names = [['a']]"),
            "x.toml:2:9: lists.names[0] must be a string in quotes; found a list");
  EXPECT_EQ(mistake_in("schedules = ['linear']"),
            "x.toml:2:13: lists.schedules[0] must be wsd, cosine or constant; found the string "
            "'linear'");
}

TEST(SectionReader, what_is_no_list) {
  EXPECT_EQ(mistake_in("sizes = 3"),
            "x.toml:2:9: lists.sizes must be a list of integers; found the integer 3");
  EXPECT_EQ(mistake_in("weights = true"),
            "x.toml:2:11: lists.weights must be a list of numbers; found the boolean true");
  EXPECT_EQ(mistake_in("names = 'a'"),
            "x.toml:2:9: lists.names must be a list of strings; found the string 'a'; write "
            "[\"a\"]");
  EXPECT_EQ(mistake_in("schedules = 'wsd'"),
            "x.toml:2:13: lists.schedules must be a list of wsd, cosine or constant; found the "
            "string 'wsd'");
}

TEST(SectionReader, overrides_of_lists) {
  EXPECT_EQ(with("lists.sizes=1,2").sizes, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(with("lists.sizes=[ 1, 2 ]").sizes, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(with("lists.weights=7").weights, std::vector<double>{7});
  EXPECT_EQ(with("lists.schedules=wsd, \"cosine\"").schedules,
            (std::vector<Schedule>{Schedule::wsd, Schedule::cosine}));
  EXPECT_EQ(error_of<UsageError>([] { with("lists.sizes=1,x"); }).substr(0, 45),
            "--set lists.sizes=1,x: '[1, x]' is not a TOML");
}

}  // namespace
}  // namespace lacuna
