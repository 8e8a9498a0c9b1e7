#include "evaluation/matching.h"

#include <gtest/gtest.h>

#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;

TEST(Matching, TheLastNumberOfAText) {
  EXPECT_EQ(last_number("3 apples and 1,234.5 pears."), 1234.5);
  EXPECT_EQ(last_number("so x = -7."), -7);
  EXPECT_EQ(last_number("pages 10-20"), 20);  // a range, not minus twenty
  EXPECT_EQ(last_number("$18"), 18);
  EXPECT_EQ(last_number("50%"), 50);
  EXPECT_EQ(last_number("in 2024, it was 3, then"), 3);
  EXPECT_FALSE(last_number("none at all"));
}

bool match(MatchRule rule, const std::string& output, const std::string& answer,
           bool ignore_case = false, const std::string& pattern = "") {
  TaskSection task;
  task.match = rule;
  task.ignore_case = ignore_case;
  task.pattern = pattern;
  return matches(task, output, answer);
}

TEST(Matching, Rules) {
  EXPECT_TRUE(match(MatchRule::exact, " Paris\n", "Paris"));
  EXPECT_FALSE(match(MatchRule::exact, "Paris.", "Paris"));
  EXPECT_FALSE(match(MatchRule::exact, "paris", "Paris"));
  EXPECT_TRUE(match(MatchRule::exact, "paris", "Paris", true));
  EXPECT_TRUE(match(MatchRule::substring, "It is Paris.", "Paris"));
  EXPECT_FALSE(match(MatchRule::substring, "It is Rome.", "Paris"));
  EXPECT_TRUE(match(MatchRule::number, "#### 1,000", "the answer is 1000.0"));
  EXPECT_FALSE(match(MatchRule::number, "#### 1000", "1001"));
  EXPECT_FALSE(match(MatchRule::number, "no number", "1"));
  EXPECT_TRUE(match(MatchRule::regex, "The answer is (B).", "B", false, "answer is \\(?([A-D])"));
  EXPECT_FALSE(match(MatchRule::regex, "I do not know", "B", false, "answer is \\(?([A-D])"));
}

TEST(Matching, PatternsThatAreNone) {
  EXPECT_TRUE(contains(
      error_of<UsageError>([] { match(MatchRule::regex, "x", "x", false, "a(b"); }), "a(b"));
  EXPECT_TRUE(contains(error_of<UsageError>([] { match(MatchRule::regex, "x", "x", false, "ab"); }),
                       "has no group"));
}

TEST(Matching, AnswersNameAChoice) {
  const std::vector<std::string> choices = {"red", "2", "blue"};
  EXPECT_EQ(choice_index("blue", choices), 2);
  EXPECT_EQ(choice_index("0", choices), 0);
  EXPECT_EQ(choice_index("2", choices), 1);  // a choice's text goes before its number
  EXPECT_EQ(choice_index("C", choices), 2);
  EXPECT_EQ(choice_index("D", choices), -1);
  EXPECT_EQ(choice_index("3", choices), -1);
  EXPECT_EQ(choice_index("", choices), -1);
}

}  // namespace
}  // namespace lacuna
