#include "structured/json_schema.h"

#include <gtest/gtest.h>

#include "core/check.h"
#include "tests/support/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT
using Kind = JsonSchema::Kind;

std::string refused(const std::string& schema) {
  return error_of([&] { (void)parse_json_schema(schema); });
}

TEST(JsonSchema, PropertiesKeepTheirOrderAndAllAreWritten) {
  const JsonSchema s = parse_json_schema(R"({"$schema": "https://json-schema.org/x", "title": "T",
      "type": "object", "required": ["z"], "additionalProperties": false, "properties": {
        "z": {"type": "string", "minLength": 2, "maxLength": 9, "description": "d"},
        "a": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2},
        "m": {"$ref": "#/$defs/inner"}},
      "$defs": {"inner": {"type": "object", "properties": {"n": {"type": "null"}}}}})");
  ASSERT_EQ(s.properties.size(), 3u);
  EXPECT_EQ(s.properties[0].first, "z");
  EXPECT_EQ(s.properties[0].second.least, 2);
  EXPECT_EQ(s.properties[0].second.most, 9);
  EXPECT_EQ(s.properties[1].first, "a");
  ASSERT_EQ(s.properties[1].second.items.size(), 2u);
  EXPECT_EQ(s.properties[1].second.items[1].choices, (std::vector<std::string>{"true", "false"}));
  EXPECT_EQ(s.properties[2].second.properties[0].second.choices,
            (std::vector<std::string>{"null"}));
}

TEST(JsonSchema, ChoicesAreJsonTexts) {
  const auto choices = [](const std::string& schema) { return parse_json_schema(schema).choices; };
  using Texts = std::vector<std::string>;
  EXPECT_EQ(choices(R"({"enum": ["a\"", 1, null, "a\"", {"b": [2]}]})"),
            (Texts{"\"a\\\"\"", "1", "null", "{\"b\":[2]}"}));
  EXPECT_EQ(choices(R"({"type": "integer", "enum": ["a", 1, 2.5, 3.0]})"), (Texts{"1", "3.0"}));
  EXPECT_EQ(choices(R"({"const": "x"})"), (Texts{"\"x\""}));
  EXPECT_EQ(choices(R"({"type": "integer", "minimum": -1.5, "exclusiveMaximum": 2})"),
            (Texts{"-1", "0", "1"}));
  EXPECT_EQ(choices(R"({"type": "string", "maxLength": 0})"), (Texts{"\"\""}));
  EXPECT_EQ(choices(R"({"type": "integer", "minimum": 1, "maximum": 1024})").size(), 1024u);
}

TEST(JsonSchema, SignsOfNumbers) {
  const auto sign = [](const std::string& schema) { return parse_json_schema(schema).sign; };
  EXPECT_EQ(sign(R"({"type": "integer"})"), JsonSchema::Sign::any);
  EXPECT_EQ(sign(R"({"type": "integer", "minimum": 0})"), JsonSchema::Sign::not_negative);
  EXPECT_EQ(sign(R"({"type": "integer", "exclusiveMinimum": 0})"), JsonSchema::Sign::positive);
  EXPECT_EQ(sign(R"({"type": "number", "minimum": 0})"), JsonSchema::Sign::not_negative);
}

// What is not supported is refused with its place and its name.
TEST(JsonSchema, NamesWhatIsNotSupported) {
  const std::pair<const char*, const char*> cases[] = {
      {R"([])", "the schema must be an object"},
      {R"(true)", "the schema must be an object"},
      {R"({)", "the schema"},
      {R"({})", "the schema has no 'type'"},
      {R"({"anyOf": [{"type": "null"}]})", "'anyOf' is not supported"},
      {R"({"type": ["string", "null"]})", "'type' is a list"},
      {R"({"type": "text"})", "'type' must be"},
      {R"({"type": "object"})", "without 'properties'"},
      {R"({"type": "object", "properties": {"a": {"type": "string", "pattern": "a*"}}})",
       "properties.a: 'pattern' is not supported"},
      {R"({"type": "object", "properties": {}, "patternProperties": {}})", "'patternProperties'"},
      {R"({"type": "object", "properties": {}, "required": ["a"]})", "'required' names what"},
      {R"({"type": "array", "items": {"type": "null"}})", "no fixed length"},
      {R"({"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 2})",
       "no fixed length"},
      {R"({"type": "array", "minItems": 2, "maxItems": 2})", "without 'items'"},
      {R"({"type": "array", "minItems": 1, "maxItems": 1, "items": {"oneOf": []}})",
       "items: 'oneOf' is not supported"},
      {R"({"type": "string", "format": "date"})", "'format' is not supported"},
      {R"({"type": "string", "minLength": 3, "maxLength": 2})", "'maxLength' is less"},
      {R"({"type": "string", "maxLength": -1})", "'maxLength' must be a whole number"},
      {R"({"type": "integer", "multipleOf": 5})", "'multipleOf' is not supported"},
      {R"({"type": "integer", "maximum": 5})", "'maximum' and more than 1024"},
      {R"({"type": "integer", "minimum": 0, "maximum": 5000})", "'maximum' and more than 1024"},
      {R"({"type": "integer", "minimum": 6, "maximum": 5})", "of no value"},
      {R"({"type": "integer", "minimum": 7})", "no greatest value"},
      {R"({"type": "number", "minimum": 1})", "'minimum' of a number"},
      {R"({"type": "number", "maximum": 1})", "'maximum' is not supported"},
      {R"({"enum": []})", "'enum' must be a list"},
      {R"({"type": "string", "enum": [1]})", "'enum' has no value of the 'type'"},
      {R"({"type": "string", "enum": ["a"], "maxLength": 3})", "'maxLength' is not supported"},
      {R"({"$ref": "#"})", "'$ref' is recursive"},
      {R"({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties":
          {"b": {"$ref": "#/$defs/a"}}}}})",
       "properties.b: '$ref' is recursive"},
      {R"({"$ref": "#/$defs/a"})", "'$ref' names no place"},
      {R"({"$ref": "https://example.org/x"})", "'$ref' must be"},
      {R"({"$ref": "#/$defs/a", "minLength": 1, "$defs": {"a": {"type": "string"}}})",
       "'minLength' is not supported"}};
  for (const auto& [schema, message] : cases)
    EXPECT_TRUE(contains(refused(schema), message)) << schema << "\n" << refused(schema);
}

// References that double in each level, and deep schemas, end soon.
TEST(JsonSchema, HasBounds) {
  std::string defs = R"("d0": {"type": "null"})";
  for (int i = 1; i < 15; ++i)
    defs += str(R"(, "d)", i, R"(": {"type": "object", "properties": {"a": {"$ref": "#/$defs/d)",
                i - 1, R"("}, "b": {"$ref": "#/$defs/d)", i - 1, R"("}}})");
  EXPECT_TRUE(
      contains(refused(R"({"$ref": "#/$defs/d14", "$defs": {)" + defs + "}}"), "more than"));
  std::string deep = R"({"type": "null"})";
  for (int i = 0; i < 40; ++i) deep = R"({"type": "object", "properties": {"a": )" + deep + "}}";
  EXPECT_TRUE(contains(refused(deep), "deeper than 32"));
}

}  // namespace
}  // namespace lacuna
