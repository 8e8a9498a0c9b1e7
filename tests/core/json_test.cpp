#include "core/json.h"

#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

using Json = nlohmann::json;

std::string refusal(std::string_view text) {
  return error_of([&] { (void)parse_json<Json>(text, "a.json"); });
}

std::string nested(int depth, const std::string& open, const std::string& close) {
  std::string text;
  for (int i = 0; i < depth; ++i) text += open;
  text += "1";
  for (int i = 0; i < depth; ++i) text += close;
  return text;
}

TEST(ParseJson, Values) {
  EXPECT_EQ(parse_json<Json>("[1, \"a\\\\\\\"[\", null]", "a.json"), Json({1, "a\\\"[", nullptr}));
  const auto ordered = parse_json<nlohmann::ordered_json>(R"({"b": 1, "a": 2})", "a.json");
  EXPECT_EQ(ordered.dump(), R"({"b":1,"a":2})");
}

TEST(ParseJson, SaysWhereItIsWrong) {
  EXPECT_TRUE(contains(refusal("{"), "a.json: malformed JSON, column 2: "));
  EXPECT_TRUE(contains(refusal("{\n]"), "a.json: malformed JSON, line 2, column 1"));
  EXPECT_TRUE(contains(refusal(""), "a.json: malformed JSON, "));
  EXPECT_TRUE(contains(refusal("\"\xff\""), "a.json: malformed JSON, "));
  EXPECT_TRUE(contains(refusal("{} {}"), "a.json: malformed JSON, "));
  EXPECT_EQ(refusal(std::string("{}\0", 3)), "a.json: malformed JSON, byte 3 is NUL");
}

TEST(ParseJson, NumbersThatNoDoubleHoldsAreNotJsonEither) {
  for (const char* text : {"1e400", "[-1e400]", "{\"a\": 1e999999}"})
    EXPECT_TRUE(contains(refusal(text), "a.json: malformed JSON, number overflow")) << text;
  EXPECT_EQ(refusal("1e308"), "");
}

TEST(ParseJson, DepthHasALimit) {
  EXPECT_EQ(refusal(nested(100, "[", "]")), "");
  EXPECT_EQ(refusal(nested(100, "{\"a\":", "}")), "");
  const std::string message = "a.json: is nested more than 100 deep";
  EXPECT_EQ(refusal(nested(101, "[", "]")), message);
  EXPECT_EQ(refusal(nested(50, "{\"a\":[", "]}")), "");
  EXPECT_EQ(refusal(nested(51, "{\"a\":[", "]}")), message);
  EXPECT_EQ(refusal(nested(1'000'000, "[", "]")), message);
  EXPECT_EQ(refusal(std::string(1'000'000, '{')), message);
  EXPECT_EQ(refusal(nested(1'000'000, "{\"a\":", "}")), message);
  // Brackets in strings are text.
  EXPECT_EQ(refusal(str("[\"", std::string(1000, '['), "\\\"", std::string(1000, '{'), "\"]")), "");
  // A list of many is not deep.
  std::string wide = "[[]";
  for (int i = 0; i < 1000; ++i) wide += ",[]";
  EXPECT_EQ(refusal(wide + "]"), "");
}

TEST(ParseJson, TheNumberOfValuesHasALimit) {
  std::string zeros = "[0";
  for (std::size_t i = 1; i < kMostJsonValues; ++i) zeros += ",0";
  EXPECT_EQ(refusal(zeros + "]"), "a.json: holds more than 16,777,216 JSON values");
}

TEST(ParseJson, RepeatedKeys) {
  const char* text = R"({"a": {"b": 1, "c": 2, "b": 3}, "b": 4})";
  EXPECT_EQ(refusal(text), "a.json: has the key \"b\" twice");
  // The same key in several objects is several keys.
  EXPECT_EQ(refusal(R"([{"a": 1}, {"a": {"a": 2}}])"), "");
}

TEST(ParseJson, AnObjectWhereOneIsWanted) {
  EXPECT_EQ(error_of([] { (void)parse_json_object<Json>("[1]", "a.json"); }),
            "a.json: is not a JSON object but array");
  EXPECT_EQ(parse_json_object<Json>("{}", "a.json"), Json::object());
}

TEST(JsonText, KeepsTheOrderOfKeysAndReplacesWhatIsNoUtf8) {
  const nlohmann::ordered_json json = {{"b", "\xc3\xa9\xff"}, {"a", {1, nullptr}}};
  EXPECT_EQ(json_text(json), "{\"b\":\"\xc3\xa9\xef\xbf\xbd\",\"a\":[1,null]}");
  EXPECT_EQ(json_text({{"a", 1}}, 2), "{\n  \"a\": 1\n}");
}

TEST(ParseJson, MessagesCannotGiveTerminalsCommands) {
  const std::string message = refusal("{\"\\u001b]0;x\\u0007\": 1, \"\\u001b]0;x\\u0007\": 2}");
  EXPECT_EQ(message, "a.json: has the key \"\xe2\x90\x9b]0;x\xe2\x90\x87\" twice");
}

}  // namespace
}  // namespace lacuna::testing
