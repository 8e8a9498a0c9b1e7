#include "evaluation/choices.h"

#include <gtest/gtest.h>

#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;

Choices choices(const std::string& record, const std::string& answer = "{answer}") {
  TaskSection task;
  task.answer = answer;
  return choices_of(task, Record(record, "t:1"));
}

TEST(Choices, AnIntegerIsAnIndexWhateverTheTexts) {
  EXPECT_EQ(choices(R"({"choices": ["1", "2", "3", "4"], "answer": 3})").right, 3u);
  EXPECT_EQ(choices(R"({"choices": ["1", "2", "3", "4"], "answer": 0})").right, 0u);
  EXPECT_EQ(choices(R"({"choices": [1, 2, 3], "answer": 1})").right, 1u);
  EXPECT_EQ(choices(R"({"choices": ["1", "2"], "answer": 1.0})").right, 1u);
  EXPECT_EQ(choices(R"({"choices": ["1", "2"], "gold": 1, "answer": 0})", "{gold}").right, 1u);
}

TEST(Choices, AStringIsATextALetterOrANumber) {
  EXPECT_EQ(choices(R"({"choices": ["1", "2", "3", "4"], "answer": "3"})").right, 2u);
  EXPECT_EQ(choices(R"({"choices": ["a", "b", "c", "d"], "answer": "3"})").right, 3u);
  EXPECT_EQ(choices(R"({"choices": ["B", "A"], "answer": "A"})").right, 1u);
  // More than the one field is a text, whatever the field is.
  EXPECT_EQ(choices(R"({"choices": ["n1", "n2"], "answer": 2})", "n{answer}").right, 1u);
  EXPECT_EQ(choices(R"({"choices": ["true", "false"], "answer": false})").right, 1u);
}

TEST(Choices, ByName) {
  const std::vector<std::string> colours = {"red", "2", "blue"};
  EXPECT_EQ(choice_named("blue", colours), 2);
  EXPECT_EQ(choice_named(" blue\u3000", colours), 2);
  EXPECT_EQ(choice_named("0", colours), 0);
  EXPECT_EQ(choice_named("2", colours), 1);  // a choice's text goes before its number
  for (const char* b : {"C", "c", "(C)", " C ", "C.", "[c]", "C)", "C:"})
    EXPECT_EQ(choice_named(b, colours), 2) << b;
  for (const char* none : {"D", "3", "", "-1", "red blue", "CC", "()", "1.5", "99999999999999"})
    EXPECT_EQ(choice_named(none, colours), -1) << none;
  EXPECT_EQ(choice_named("1", colours, {"1", "2", "3"}), 0);  // a label goes before all
  EXPECT_EQ(choice_named("2", colours, {"1", "2", "3"}), 1);
}

TEST(Choices, WithLabels) {
  const std::string objects =
      R"({"choices": [{"label": "A", "text": "x"}, {"label": "B", "text": "A"}], "answer": "A"})";
  EXPECT_EQ(choices(objects).right, 0u);
  EXPECT_EQ(choices(objects).texts, (std::vector<std::string>{"x", "A"}));
  const std::string lists =
      R"({"choices": {"text": ["x", "y", "z"], "label": ["1", "2", "3"]}, "answer": "2"})";
  EXPECT_EQ(choices(lists).right, 1u);
  EXPECT_EQ(choices(R"({"choices": [{"text": "x"}, {"text": "y"}], "answer": "y"})").right, 1u);
}

TEST(Choices, Mistakes) {
  const auto mistake = [](const std::string& record) { return error_of([&] { choices(record); }); };
  EXPECT_TRUE(contains(mistake(R"({"choices": ["1", "2"], "answer": 2})"),
                       "t:1: the answer 2 is no index of its 2 choices"));
  EXPECT_TRUE(contains(mistake(R"({"choices": ["1", "2"], "answer": -1})"), "no index"));
  EXPECT_TRUE(contains(mistake(R"({"choices": ["1", "2"], "answer": "z"})"),
                       "t:1: the answer \"z\" is none of its choices"));
  EXPECT_TRUE(contains(mistake(R"({"choices": ["1", "2"], "answer": 1.5})"), "\"1.5\" is none"));
  EXPECT_TRUE(contains(mistake(R"({"choices": ["1"], "answer": 0})"), "t:1: has 1 choice;"));
  EXPECT_TRUE(contains(mistake(R"({"choices": [], "answer": 0})"), "t:1: has 0 choices;"));
  EXPECT_TRUE(contains(mistake(R"({"choices": "ab", "answer": 0})"), "is no list but string"));
  EXPECT_TRUE(contains(mistake(R"({"choices": [null, "a"], "answer": 0})"), "lists null"));
  EXPECT_TRUE(contains(mistake(R"({"choices": {"label": ["A"]}, "answer": 0})"),
                       "is an object without \"text\""));
  EXPECT_TRUE(contains(mistake(R"({"choices": {"text": ["x", "y"], "label": ["A"]}, "answer": 0})"),
                       "2 texts and 1 labels"));
  EXPECT_TRUE(contains(mistake(R"({"choices": [{"text": "a"}, {"label": "B"}], "answer": 0})"),
                       "one of which has no \"text\""));
  EXPECT_TRUE(contains(mistake(R"({"choices": ["a", "b"]})"), "has no field \"answer\""));
}

}  // namespace
}  // namespace lacuna
