#include "evaluation/matching.h"

#include <gtest/gtest.h>

#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;

bool match(MatchRule rule, const std::string& output, const std::string& answer,
           bool ignore_case = false, const std::string& pattern = "") {
  TaskSection task;
  task.match = rule;
  task.ignore_case = ignore_case;
  task.pattern = pattern;
  return Matcher(task)(output, answer);
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
  // What is quoted of a pattern is bounded, and moves no cursor.
  const std::string error = error_of<UsageError>(
      [] { match(MatchRule::regex, "x", "x", false, "\x1b" + std::string(60000, '(')); });
  EXPECT_LT(error.size(), 500u);
  EXPECT_EQ(error.find('\x1b'), std::string::npos);
}

TEST(Matching, ExactIgnoresUnicodeWhiteSpaceAround) {
  EXPECT_TRUE(match(MatchRule::exact, "\u3000Paris\u00a0\n", " Paris"));
  EXPECT_FALSE(match(MatchRule::exact, "\u200bParis", "Paris"));  // no white space
}

bool finds(const std::string& pattern, const std::string& output, const std::string& answer) {
  return match(MatchRule::regex, output, answer, false, pattern);
}

TEST(Matching, PatternsAreOfCharacters) {
  EXPECT_TRUE(finds("答案是(.)", "答案是甲。", "甲"));
  EXPECT_TRUE(finds("答案是([甲乙丙丁])", "答案是甲。", "甲"));
  EXPECT_TRUE(finds("选项([Ａ-Ｄ])", "答案：选项Ａ", "Ａ"));
  EXPECT_TRUE(finds("est (\\S)$", "La réponse est é", "é"));
  EXPECT_TRUE(finds("die (\\w+)", "die Größe", "Größe"));
  EXPECT_TRUE(finds("(?<answer>\\d+)", "18", "18"));
}

TEST(Matching, TheFirstGroupThatIsNotEmptyOfTheFirstMatch) {
  EXPECT_TRUE(finds("(\\d+)", "3 and 4", "3"));
  EXPECT_TRUE(finds("(?s).*?(\\d+)\\D*$", "3 and\n4", "4"));
  EXPECT_TRUE(finds("(x\\d)|(y\\d)", "y3 x4", "y3"));
  EXPECT_TRUE(finds("(x?)(\\d)", "3", "3"));
  EXPECT_TRUE(finds("(?m)^A: (.*)$", "Q: 1\nA:  2 \nA: 3", "2"));
}

TEST(Matching, BytesThatAreNoCharactersAreReplaced) {
  EXPECT_TRUE(finds("is (\\d+)", "\xff\xe3\x80is 5\x80", "5"));
  EXPECT_TRUE(finds("is (.)", "is \x80", "\ufffd"));
}

TEST(Matching, ASearchWithoutEndIsWrongAndCounted) {
  TaskSection task;
  task.match = MatchRule::regex;
  task.pattern = "^(a+)+$";
  Matcher matches(task);
  EXPECT_FALSE(matches(std::string(60, 'a') + "!", "a"));
  EXPECT_EQ(matches.unfinished_searches(), 1);
  EXPECT_TRUE(matches("aa", "aa"));
  EXPECT_EQ(matches.unfinished_searches(), 1);
}

TEST(Matching, NumbersOfAnySize) {
  EXPECT_TRUE(match(MatchRule::number, "1,000,000.0", "1000000"));
  EXPECT_TRUE(match(MatchRule::number, "1000001", "1000000"));  // within 1e-6
  EXPECT_FALSE(match(MatchRule::number, "1000003", "1000000"));
  EXPECT_FALSE(match(MatchRule::number, "5", "-5"));
  // Beyond what a double holds.
  EXPECT_TRUE(match(MatchRule::number, std::string(400, '9'), std::string(400, '9')));
  EXPECT_FALSE(match(MatchRule::number, std::string(400, '9'), "9"));
}

}  // namespace
}  // namespace lacuna
