#include "structured/json_schema.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "core/check.h"
#include "core/json.h"
#include "core/text.h"

namespace lacuna {
namespace {

using SchemaJson = nlohmann::ordered_json;

constexpr int kDeepestSchema = 32;
constexpr std::int64_t kMostSchemaNodes = 2048, kMostItems = 256, kMostCharacters = 1 << 20,
                       kLongestLeast = 1024;

const std::set<std::string> kAnnotations = {
    "title",     "description", "default", "examples", "deprecated", "readOnly",
    "writeOnly", "$comment",    "$schema", "$id",      "$defs",      "definitions"};

/// Reads the keywords of one schema, and refuses those that nobody read.
class SchemaKeywords {
 public:
  SchemaKeywords(const SchemaJson& schema, std::string path)
      : schema_(schema), path_(std::move(path)) {
    if (!schema.is_object()) fail("must be an object");
  }
  [[noreturn]] void fail(const std::string& why) const {
    throw Error((path_.empty() ? "the schema" : path_) + " " + why);
  }
  [[noreturn]] void refuse(const std::string& keyword, const std::string& why) const {
    throw Error((path_.empty() ? "" : path_ + ": ") + "'" + keyword + "' " + why);
  }
  const SchemaJson* find(const std::string& keyword) {
    known_.insert(keyword);
    const auto at = schema_.find(keyword);
    return at == schema_.end() ? nullptr : &*at;
  }
  std::optional<std::int64_t> count(const std::string& keyword, std::int64_t most) {
    const SchemaJson* value = find(keyword);
    if (!value) return std::nullopt;
    const double number = value->is_number() ? value->get<double>() : -1;
    if (number < 0 || number != std::floor(number))
      refuse(keyword, "must be a whole number from 0 on");
    if (number > double(most))
      refuse(keyword, str("is more than ", most, ", which is not supported"));
    return std::int64_t(number);
  }
  std::optional<double> number(const std::string& keyword) {
    const SchemaJson* value = find(keyword);
    if (!value) return std::nullopt;
    if (!value->is_number()) refuse(keyword, "must be a number");
    return value->get<double>();
  }
  void refuse_others() const {
    for (const auto& [name, value] : schema_.items())
      if (!known_.contains(name) && !kAnnotations.contains(name))
        refuse(shown(name), "is not supported here");
  }
  std::string at(const std::string& more) const {
    return path_.empty() ? more : path_ + "." + more;
  }
  const std::string& path() const { return path_; }

 private:
  const SchemaJson& schema_;
  const std::string path_;
  std::set<std::string> known_;
};

bool is_whole(const SchemaJson& value) {
  return value.is_number_integer() ||
         (value.is_number_float() && value.get<double>() == std::floor(value.get<double>()));
}

bool is_of_type(const SchemaJson& value, const std::string& type) {
  if (type == "integer") return is_whole(value);
  if (type == "number") return value.is_number();
  return type == value.type_name();
}

class SchemaReader {
 public:
  explicit SchemaReader(const SchemaJson& root) : root_(root) {}

  JsonSchema read(const SchemaJson& schema, const std::string& path, int depth) {
    SchemaKeywords keywords(schema, path);
    if (depth > kDeepestSchema) keywords.fail(str("is deeper than ", kDeepestSchema));
    if (++nodes_ > kMostSchemaNodes)
      keywords.fail(str("makes more than ", kMostSchemaNodes, " values"));
    JsonSchema node = dispatch(keywords, depth);
    keywords.refuse_others();
    return node;
  }

 private:
  JsonSchema dispatch(SchemaKeywords& keywords, int depth) {
    if (const SchemaJson* target = keywords.find("$ref"))
      return reference(keywords, *target, depth);
    std::string type;
    if (const SchemaJson* value = keywords.find("type")) {
      if (value->is_array()) keywords.refuse("type", "is a list, which is not supported");
      if (!value->is_string()) keywords.refuse("type", "must be a string");
      type = value->get<std::string>();
    }
    const SchemaJson *constant = keywords.find("const"), *values = keywords.find("enum");
    if (constant && values) keywords.refuse("enum", "beside 'const' is not supported");
    if (constant) return choice(keywords, SchemaJson::array({*constant}), "const", type);
    if (values) return choice(keywords, *values, "enum", type);
    if (type == "object") return object(keywords, depth);
    if (type == "array") return array(keywords, depth);
    if (type == "string") return string(keywords);
    if (type == "integer") return integer(keywords);
    if (type == "number") return number(keywords);
    if (type == "boolean") return {.kind = JsonSchema::Kind::choice, .choices = {"true", "false"}};
    if (type == "null") return {.kind = JsonSchema::Kind::choice, .choices = {"null"}};
    if (!type.empty())
      keywords.refuse("type", "must be object, array, string, integer, number, boolean or null");
    keywords.refuse_others();  // names what there is in its place
    keywords.fail("has no 'type'");
  }

  JsonSchema reference(SchemaKeywords& keywords, const SchemaJson& target, int depth) {
    if (!target.is_string() || !target.get<std::string>().starts_with('#'))
      keywords.refuse("$ref", "must be \"#\" or \"#/…\", a place in the schema");
    const std::string name = target.get<std::string>();
    if (std::find(followed_.begin(), followed_.end(), name) != followed_.end())
      keywords.refuse("$ref", "is recursive: such a value has no bounds");
    const SchemaJson* found = nullptr;
    try {
      found = &root_.at(SchemaJson::json_pointer(name.substr(1)));
    } catch (const SchemaJson::exception&) {
      keywords.refuse("$ref", "names no place in the schema");
    }
    followed_.push_back(name);
    JsonSchema node = read(*found, keywords.path(), depth + 1);
    followed_.pop_back();
    return node;
  }

  static JsonSchema choice(const SchemaKeywords& keywords, const SchemaJson& values,
                           const char* keyword, const std::string& type) {
    if (!values.is_array() || values.empty()) keywords.refuse(keyword, "must be a list of values");
    JsonSchema node{.kind = JsonSchema::Kind::choice};
    std::set<std::string> known;
    for (const SchemaJson& value : values) {
      if (!type.empty() && !is_of_type(value, type)) continue;
      std::string text = json_text(value);
      if (known.insert(text).second) node.choices.push_back(std::move(text));
      if (std::int64_t(node.choices.size()) > kMostSchemaChoices)
        keywords.refuse(keyword, str("has more than ", kMostSchemaChoices, " values"));
    }
    if (node.choices.empty()) keywords.refuse(keyword, "has no value of the 'type'");
    return node;
  }

  JsonSchema object(SchemaKeywords& keywords, int depth) {
    const SchemaJson* properties = keywords.find("properties");
    if (!properties) keywords.fail("is an object without 'properties', which is not supported");
    if (!properties->is_object()) keywords.refuse("properties", "must be an object");
    (void)keywords.find("additionalProperties");  // there are none
    JsonSchema node{.kind = JsonSchema::Kind::object};
    std::set<std::string> names;
    for (const auto& [name, property] : properties->items()) {
      names.insert(name);
      node.properties.emplace_back(
          name, read(property, keywords.at("properties." + shown(name)), depth + 1));
    }
    if (const SchemaJson* required = keywords.find("required")) {
      if (!required->is_array()) keywords.refuse("required", "must be a list of names");
      for (const SchemaJson& name : *required)
        if (!name.is_string() || !names.contains(name.get<std::string>()))
          keywords.refuse("required", "names what 'properties' does not have");
    }
    return node;
  }

  JsonSchema array(SchemaKeywords& keywords, int depth) {
    const auto least = keywords.count("minItems", kMostItems),
               most = keywords.count("maxItems", kMostItems);
    if (!most || least.value_or(0) != *most)
      keywords.fail("is an array of no fixed length: 'minItems' and 'maxItems' must be equal");
    JsonSchema node{.kind = JsonSchema::Kind::array};
    const SchemaJson* items = keywords.find("items");
    if (!items && *most > 0) keywords.fail("is an array without 'items', which is not supported");
    for (std::int64_t i = 0; i < *most; ++i)
      node.items.push_back(read(*items, keywords.at("items"), depth + 1));
    return node;
  }

  static JsonSchema string(SchemaKeywords& keywords) {
    JsonSchema node{.kind = JsonSchema::Kind::string};
    node.least = keywords.count("minLength", kLongestLeast).value_or(0);
    node.most = keywords.count("maxLength", kMostCharacters).value_or(-1);
    if (node.most >= 0 && node.most < node.least)
      keywords.refuse("maxLength", "is less than 'minLength'");
    if (node.most == 0) return {.kind = JsonSchema::Kind::choice, .choices = {"\"\""}};
    return node;
  }

  static JsonSchema integer(SchemaKeywords& keywords) {
    std::optional<double> least, most;
    const auto raise = [&](std::optional<double> to) {
      if (to) least = std::max(least.value_or(*to), *to);
    };
    const auto lower = [&](std::optional<double> to) {
      if (to) most = std::min(most.value_or(*to), *to);
    };
    if (const auto x = keywords.number("minimum")) raise(std::ceil(*x));
    if (const auto x = keywords.number("exclusiveMinimum")) raise(std::floor(*x) + 1);
    if (const auto x = keywords.number("maximum")) lower(std::floor(*x));
    if (const auto x = keywords.number("exclusiveMaximum")) lower(std::ceil(*x) - 1);
    JsonSchema node{.kind = JsonSchema::Kind::integer};
    if (!most) {
      if (!least) return node;
      if (*least != 0 && *least != 1)
        keywords.fail("is an integer of no greatest value: then the least may be 0 or 1 alone");
      node.sign = *least == 0 ? JsonSchema::Sign::not_negative : JsonSchema::Sign::positive;
      return node;
    }
    constexpr double kLargest = 1e15;
    if (!least || *most - *least >= double(kMostSchemaChoices) || std::abs(*least) > kLargest ||
        std::abs(*most) > kLargest)
      keywords.fail(str("is an integer with a 'maximum' and more than ", kMostSchemaChoices,
                        " values, which is not supported"));
    if (*most < *least) keywords.fail("is an integer of no value");
    node.kind = JsonSchema::Kind::choice;
    for (auto i = std::int64_t(*least); i <= std::int64_t(*most); ++i)
      node.choices.push_back(std::to_string(i));
    return node;
  }

  static JsonSchema number(SchemaKeywords& keywords) {
    JsonSchema node{.kind = JsonSchema::Kind::number};
    const auto least = keywords.number("minimum");
    if (!least) return node;
    if (*least != 0) keywords.refuse("minimum", "of a number may be 0 alone");
    node.sign = JsonSchema::Sign::not_negative;
    return node;
  }

  const SchemaJson& root_;
  std::int64_t nodes_ = 0;
  std::vector<std::string> followed_;  // references that lead here
};

}  // namespace

JsonSchema parse_json_schema(std::string_view text) {
  const auto root = parse_json<SchemaJson>(text, "the schema");
  return SchemaReader(root).read(root, "", 0);
}

}  // namespace lacuna
