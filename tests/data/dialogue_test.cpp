#include "data/dialogue.h"

#include "tests/data/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;

Dialogue parse(const std::string& record) {
  std::set<std::string> ignored;
  return parse_dialogue(record, "a.jsonl:7", ignored);
}

std::string error(const std::string& line) {
  return error_of([&] { parse(line); });
}

TEST(Dialogue, TheFormsThatPeopleHave) {
  const Dialogue expected = {{"user", "Hi"}, {"assistant", "Hello"}};
  EXPECT_EQ(parse(R"({"messages": [{"role": "user", "content": "Hi"},
      {"role": "assistant", "content": "Hello"}], "id": 3})"),
            expected);
  EXPECT_EQ(parse(R"({"prompt": "Hi", "response": "Hello"})"), expected);
  EXPECT_EQ(parse(R"({"prompt": "Hi", "completion": "Hello"})"), expected);
  EXPECT_EQ(parse(R"({"instruction": "Hi", "input": "", "output": "Hello"})"), expected);
  EXPECT_EQ(parse(R"({"conversations": [{"from": "human", "value": "Hi"},
      {"from": "gpt", "value": "Hello"}]})"),
            expected);
  EXPECT_EQ(parse(R"({"messages": [{"role": "user", "content":
      [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]},
      {"role": "assistant", "content": "Hello"}]})"),
            expected);
  EXPECT_EQ(parse(R"({"instruction": "Add", "input": "1 2", "output": "3"})"),
            (Dialogue{{"user", "Add\n\n1 2"}, {"assistant", "3"}}));
  EXPECT_EQ(parse(R"({"system": "S", "prompt": "Hi", "response": "Hello"})")[0],
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

TEST(Dialogue, NullIsAbsent) {
  const Dialogue expected = {{"user", "a"}, {"assistant", "b"}};
  for (const char* record :
       {R"({"messages": null, "conversations": null, "prompt": "a", "response": "b"})",
        R"({"messages": null, "prompt": null, "instruction": "a", "input": null, "output": "b",
            "response": null, "system": null, "tools": null, "weight": null})",
        R"({"prompt": "a", "response": null, "completion": "b"})",
        R"({"conversations": null, "prompt": null, "response": null, "messages":
            [{"role": "user", "content": "a", "weight": null, "from": null, "tool_calls": null},
             {"role": "assistant", "content": "b", "images": null}]})",
        R"({"messages": null, "conversations": [{"from": "human", "value": "a"},
            {"from": "gpt", "value": "b", "train": null}]})"})
    EXPECT_EQ(parse(record), expected) << record;
  EXPECT_TRUE(
      contains(error(R"({"messages": null, "prompt": null})"), "a.jsonl:7: is no dialogue"));
  EXPECT_TRUE(contains(error(R"({"prompt": "a", "response": null})"), "neither"));
  EXPECT_TRUE(contains(error(R"({"messages": [{"role": "user", "content": null}]})"),
                       "a.jsonl:7: field \"content\" is not a string but null"));
  EXPECT_TRUE(contains(error(R"({"messages": [{"role": null, "content": "a"}]})"),
                       "\"role\" is not a string but null"));
}

TEST(Dialogue, WeightsSayWhichRepliesAreLearned) {
  const auto learn = [](const std::string& keys) {
    return parse(R"({"messages": [{"role": "user", "content": "a"},
                     {"role": "assistant", "content": "b")" +
                 keys + "}]}")[1]
        .learn;
  };
  for (const char* keys : {"", R"(, "weight": 1)", R"(, "weight": 1.0)", R"(, "train": true)",
                           R"(, "training": true, "loss": 1)"})
    EXPECT_TRUE(learn(keys)) << keys;
  for (const char* keys :
       {R"(, "weight": 0)", R"(, "weight": 0.0)", R"(, "train": false)", R"(, "training": 0)",
        R"(, "loss": false)", R"(, "weight": 0, "train": 1)"})
    EXPECT_FALSE(learn(keys)) << keys;
  for (const char* keys : {R"(, "weight": 0.5)", R"(, "weight": -1)", R"(, "weight": "0")",
                           R"(, "weight": [0])", R"(, "loss": 2.31)"})
    EXPECT_TRUE(contains(error_of([&] { learn(keys); }), "it can be 0 or 1")) << keys;
  const auto of_user = [](const std::string& keys) {
    return error(R"({"conversations": [{"from": "human", "value": "a")" + keys +
                 R"(}, {"from": "gpt", "value": "b"}]})");
  };
  EXPECT_EQ(of_user(R"(, "weight": 0)"), "");  // it never is
  EXPECT_TRUE(contains(of_user(R"(, "weight": 1)"),
                       "a.jsonl:7: \"weight\" of a message that is not the assistant's"));
  const auto of_record = [](const std::string& keys) {
    return error(R"({"prompt": "a", "response": "b")" + keys + "}");
  };
  EXPECT_EQ(of_record(R"(, "weight": 1)"), "");
  EXPECT_TRUE(contains(of_record(R"(, "weight": 0.5)"), "\"weight\" of the record is not 1"));
  EXPECT_TRUE(contains(of_record(R"(, "train": false)"), "\"train\" of the record is not 1"));
}

TEST(Dialogue, KeysThatChangeTheMeaningAreRefusedByName) {
  const auto of_record = [](const std::string& key, const std::string& value) {
    return error(R"({"prompt": "a", "response": "b", ")" + key + "\": " + value + "}");
  };
  const auto of_reply = [](const std::string& key, const std::string& value) {
    return error(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant",
                     "content": "b", ")" +
                 key + "\": " + value + "}]}");
  };
  for (const char* key : {"tools", "tool_calls", "function_call", "images", "image", "audio",
                          "videos", "reasoning_content", "thinking", "mask", "loss_mask",
                          "train_detail", "labels", "chosen", "rejected"}) {
    for (const char* value : {"\"x\"", "[1]", "{\"x\": [\"y\"]}", "true", "0"}) {
      EXPECT_TRUE(contains(of_record(key, value), std::string("a.jsonl:7: \"") + key +
                                                      "\" of the record would be dropped: "))
          << key << value;
      EXPECT_TRUE(contains(of_reply(key, value), std::string("a.jsonl:7: \"") + key +
                                                     "\" of a message would be dropped: "))
          << key << value;
    }
    // Columns of merged data sets that hold nothing.
    for (const char* value :
         {"null", "\"\"", "[]", "{}", "[null, \"\"]", "{\"name\": null}", "false"}) {
      EXPECT_EQ(of_record(key, value), "") << key << value;
      EXPECT_EQ(of_reply(key, value), "") << key << value;
    }
  }
  for (const char* key :
       {"history", "context", "documents", "system_prompt", "chat_template_kwargs"})
    EXPECT_TRUE(contains(of_record(key, R"({"x": "y"})"), "would be dropped")) << key;
  for (const char* key : {"refusal", "prefix", "partial", "channel"})
    EXPECT_TRUE(contains(of_reply(key, "\"x\""), "would be dropped")) << key;
  for (const char* key : {"label", "kto_tag"}) {
    EXPECT_TRUE(contains(of_record(key, "false"), "undesirable")) << key;
    for (const char* value : {"true", "3", "\"sport\"", "null"})
      EXPECT_EQ(of_record(key, value), "") << key;
  }
  EXPECT_TRUE(contains(error(R"({"messages": [{"role": "user", "content": [{"type": "text",
                                 "text": "a", "image_url": "b"}]}]})"),
                       "\"image_url\" of a part of a message would be dropped"));
}

TEST(Dialogue, FieldsOfTwoFormsAreRefused) {
  // What a record is not for comes before what it lacks.
  EXPECT_TRUE(contains(error(R"({"prompt": "a", "chosen": "b", "rejected": "c"})"),
                       "\"chosen\" of the record would be dropped: preferences"));
  EXPECT_TRUE(contains(error(R"({"instruction": "a", "context": "b", "response": "c"})"),
                       "\"context\" of the record would be dropped"));
  EXPECT_TRUE(contains(error(R"({"instruction": "a", "context": "", "response": "c"})"),
                       "has \"instruction\" but no \"output\""));
  const std::string messages =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])";
  for (const char* key : {"system", "response", "completion", "output", "conversations"}) {
    EXPECT_TRUE(contains(error(messages + ", \"" + key + "\": \"x\"}"),
                         std::string("has \"") + key + "\" beside \"messages\""));
    EXPECT_EQ(error(messages + ", \"" + key + "\": null}"), "");
  }
  EXPECT_TRUE(contains(error(R"({"prompt": "a", "response": "b", "completion": "c"})"),
                       "has both \"response\" and \"completion\""));
  EXPECT_TRUE(contains(error(R"({"prompt": "a", "response": "b", "input": "c"})"),
                       "has \"input\" beside \"prompt\""));
  EXPECT_TRUE(contains(error(R"({"instruction": "a", "output": "b", "response": "c"})"),
                       "has \"response\" beside \"instruction\""));
}

TEST(Dialogue, OtherKeysAreNamed) {
  std::set<std::string> ignored;
  parse_dialogue(
      R"({"id": 3, "source": null, "score": 0.5, "prompt": "what the list says", "messages":
      [{"role": "user", "name": "Ann", "content": [{"type": "text", "text": "a", "cache": 1}]},
       {"role": "assistant", "content": "b", "weight": 1}]})",
      "x", ignored);
  EXPECT_EQ(ignored, (std::set<std::string>{"cache (of parts)", "id", "name (of messages)",
                                            "prompt", "score"}));
}

TEST(Dialogue, ListsOfMessagesUnderOtherNames) {
  const Dialogue expected = {
      {"user", "a"}, {"assistant", "b", false}, {"user", "c"}, {"assistant", "d"}};
  EXPECT_EQ(parse(R"({"prompt": [{"role": "user", "content": "a"},
      {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
      "completion": [{"role": "assistant", "content": "d"}]})"),
            expected);
  EXPECT_EQ(parse(R"({"conversations": [{"role": "user", "content": "a"},
      {"role": "assistant", "content": "b"}]})"),
            (Dialogue{{"user", "a"}, {"assistant", "b"}}));
  EXPECT_EQ(
      parse(R"({"messages": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]})"),
      (Dialogue{{"user", "a"}, {"assistant", "b"}}));
}

TEST(Dialogue, PartsOfOtherTypes) {
  const auto part = [](const std::string& json) {
    return error(R"({"messages": [{"role": "user", "content": [)" + json + "]}]}");
  };
  for (const char* json :
       {R"({"type": null, "text": "a"})", R"({"type": 3, "text": "a"})",
        R"({"type": "image_url", "image_url": {"url": "x"}})", R"({"text": "a"})",
        R"({"type": "text", "text": null})", R"({"type": "text", "text": 5})",
        R"({"type": "text"})", R"("a")", "null", "5", "[]"})
    EXPECT_TRUE(contains(part(json), "a.jsonl:7: field \"content\" has a part that is no text"))
        << json << ": " << part(json);
}

// One of the library's exceptions would have no file and line.
TEST(Dialogue, MalformedRecordsHaveAPlace) {
  EXPECT_TRUE(contains(error(R"({"prompt": "a", "response": "b", "n": 1e400})"),
                       "a.jsonl:7: malformed JSON, number overflow parsing '1e400'"));
  EXPECT_TRUE(contains(error(R"({"prompt": "a", "prompt": "b", "response": "c"})"),
                       "a.jsonl:7: has the key \"prompt\" twice"));
  EXPECT_TRUE(contains(error(R"({"messages": [{"role": "user", "content": "a", "content": "b"}]})"),
                       "has the key \"content\" twice"));
  EXPECT_TRUE(contains(error(R"({"prompt": "a", "response": "b", "x": {"y": [{"z": 1, "z": 1}]}})"),
                       "has the key \"z\" twice"));
  EXPECT_TRUE(contains(error(std::string(200, '[') + std::string(200, ']')), "more than 100 deep"));
  EXPECT_TRUE(contains(error(std::string(R"({"prompt": "a", "response": "b"})") + '\0' + "x"),
                       "a.jsonl:7: malformed JSON, byte 33 is NUL"));
  EXPECT_TRUE(contains(error(R"({"prompt": "\ud800", "response": "b"})"), "a.jsonl:7: malformed"));
  EXPECT_TRUE(contains(error("{\"prompt\": \"a\nb\"}"), "a.jsonl:7: malformed"));
  EXPECT_TRUE(contains(error("{\n\"prompt\": \"a\"\n\"response\"}"),
                       "a.jsonl:7: malformed JSON, line 3, column 10"));
  EXPECT_LT(error("{\"a\": \"" + std::string(100'000, 'x')).size(), 400u);
  EXPECT_EQ(parse("\xef\xbb\xbf{\"prompt\": \"a\", \"response\": \"b\"}").size(), 2u);
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
