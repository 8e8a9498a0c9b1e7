#include "data/dialogue.h"

#include "tests/data/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;

std::string error(const std::string& line) {
  return error_of([&] { parse_dialogue(line, "a.jsonl:7"); });
}

TEST(Dialogue, TheFormsThatPeopleHave) {
  const Dialogue expected = {{"user", "Hi"}, {"assistant", "Hello"}};
  EXPECT_EQ(parse_dialogue(R"({"messages": [{"role": "user", "content": "Hi"},
      {"role": "assistant", "content": "Hello"}], "id": 3})",
                           "x"),
            expected);
  EXPECT_EQ(parse_dialogue(R"({"prompt": "Hi", "response": "Hello"})", "x"), expected);
  EXPECT_EQ(parse_dialogue(R"({"prompt": "Hi", "completion": "Hello"})", "x"), expected);
  EXPECT_EQ(parse_dialogue(R"({"instruction": "Hi", "input": "", "output": "Hello"})", "x"),
            expected);
  EXPECT_EQ(parse_dialogue(R"({"conversations": [{"from": "human", "value": "Hi"},
      {"from": "gpt", "value": "Hello"}]})",
                           "x"),
            expected);
  EXPECT_EQ(parse_dialogue(R"({"messages": [{"role": "user", "content":
      [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]},
      {"role": "assistant", "content": "Hello"}]})",
                           "x"),
            expected);
  EXPECT_EQ(parse_dialogue(R"({"instruction": "Add", "input": "1 2", "output": "3"})", "x"),
            (Dialogue{{"user", "Add\n\n1 2"}, {"assistant", "3"}}));
  EXPECT_EQ(parse_dialogue(R"({"system": "S", "prompt": "Hi", "response": "Hello"})", "x")[0],
            (Message{"system", "S"}));
}

TEST(Dialogue, WhatIsNone) {
  EXPECT_TRUE(contains(error("{"), "a.jsonl:7: malformed JSON, column 2"));
  EXPECT_TRUE(contains(error("[1]"), "a.jsonl:7: is not a JSON object but array"));
  EXPECT_TRUE(contains(error(R"({"text": "x"})"), "a.jsonl:7: is no dialogue"));
  EXPECT_TRUE(contains(error(R"({"prompt": "x"})"), "neither \"response\" nor \"completion\""));
  EXPECT_TRUE(contains(error(R"({"instruction": "x"})"), "no \"output\""));
  EXPECT_TRUE(contains(error(R"({"messages": 3})"), "\"messages\" is not a list but number"));
  EXPECT_TRUE(contains(error(R"({"messages": []})"), "holds no message"));
  EXPECT_TRUE(contains(error(R"({"messages": ["x"]})"), "a message is not an object"));
  EXPECT_TRUE(contains(error(R"({"messages": [{"role": "user"}]})"), "no field \"content\""));
  EXPECT_TRUE(contains(error(R"({"messages": [{"role": "judge", "content": ""}]})"),
                       "a.jsonl:7: unknown role \"judge\"; roles are system, user"));
  EXPECT_TRUE(contains(error(R"({"messages": [{"role": "user", "content": 5}]})"),
                       "\"content\" is not a string but number"));
  EXPECT_TRUE(contains(error(R"({"messages": [{"role": "user", "content": [{"type": "image"}]}]})"),
                       "a part that is no text"));
}

TEST(Dialogue, RolesTakeTurns) {
  const Message s{"system", "s"}, u{"user", "u"}, a{"assistant", "a"};
  EXPECT_EQ(role_fault({u, a}), "");
  EXPECT_EQ(role_fault({s, u, a, u, a}), "");
  EXPECT_EQ(role_fault({u, a, u}), "");  // a question left open
  EXPECT_TRUE(
      contains(role_fault({a, u}), "message 1 is the assistant's where the user's turn is"));
  EXPECT_TRUE(contains(role_fault({u, u, a}), "message 2 is the user's"));
  EXPECT_TRUE(contains(role_fault({u, a, s}), "message 3 is the system's"));
  EXPECT_TRUE(contains(role_fault({u}), "no reply"));
  EXPECT_TRUE(contains(role_fault({s}), "no reply"));
  EXPECT_TRUE(contains(role_fault({}), "no reply"));
}

}  // namespace
}  // namespace lacuna
