#include "evaluation/task_text.h"

#include <gtest/gtest.h>

#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;

TEST(TaskText, FillIn) {
  const Record r(R"({"a": "x{b}", "b": "y"})", "t:1");
  const auto filled = [&](const std::string& text) { return fill_in(text, r).string(); };
  // What a field holds is not filled in again.
  EXPECT_EQ(filled("{a}-{b} {{a}} }"), "x{b}-y {a} }");
  EXPECT_EQ(filled(""), "");
  EXPECT_TRUE(contains(error_of([&] { filled("{c}"); }), "t:1: has no field \"c\""));
  EXPECT_EQ(fill_in("{a} {shots}", r, {{"shots", TaskText::written("z")}}).string(), "x{b} z");
}

TEST(TaskText, RemembersWhoWroteWhat) {
  const Record r(R"({"a": "x", "e": ""})", "t:1");
  const TaskText text = fill_in("1{{{e}2{a}{a}", r);
  ASSERT_EQ(text.parts().size(), 2u);
  EXPECT_EQ(text.parts()[0].text, "1{2");
  EXPECT_FALSE(text.parts()[0].from_record);
  EXPECT_EQ(text.parts()[1].text, "xx");
  EXPECT_TRUE(text.parts()[1].from_record);
}

TEST(TaskText, Fields) {
  EXPECT_EQ(fields_of("a{b}{{c}}{d e}{"), (std::vector<std::string>{"b", "d e"}));
  EXPECT_TRUE(names_field("{shots}{q}", "shots"));
  EXPECT_FALSE(names_field("{{shots}}{q}", "shots"));
}

}  // namespace
}  // namespace lacuna
