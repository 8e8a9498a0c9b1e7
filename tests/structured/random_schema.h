#pragma once
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "core/philox.h"

namespace lacuna::testing {

using SchemaText = nlohmann::ordered_json;

/// Schemas of what docs/serving.md says is supported, by chance.
class RandomSchema {
 public:
  explicit RandomSchema(std::uint64_t seed) : rng_{seed, Purpose::remasking, 7} {}

  int below(int n) { return int(rng_.uniform53(drawn_++) * n); }

  SchemaText make(int depth) {
    switch (below(depth > 0 ? 10 : 8)) {
      case 0:
        return string();
      case 1:
        return integer();
      case 2:
        return number();
      case 3:
        return {{"type", "boolean"}};
      case 4:
        return {{"type", "null"}};
      case 5:
        return {{"enum", SchemaText::array({"red", "green \"x\"", 12, nullptr, "\u00e4\u4e2d",
                                            SchemaText{{"a", 1.5}}})}};
      case 6:
        return {{"const", "c\\onst"}};
      case 7:
        return string();
      case 8: {
        const int items = below(4);
        return {{"type", "array"},
                {"minItems", items},
                {"maxItems", items},
                {"items", make(depth - 1)}};
      }
      default:
        return object(depth);
    }
  }
  SchemaText object(int depth) {
    SchemaText schema = {{"type", "object"}, {"properties", SchemaText::object()}};
    const char* names[] = {"name", "a\"b", "\u00fcber", "n", "x y"};
    for (int i = below(4); i >= 0; --i) schema["properties"][names[i]] = make(depth - 1);
    if (below(2)) schema["additionalProperties"] = false;
    return schema;
  }

 private:
  SchemaText string() {
    SchemaText schema = {{"type", "string"}};
    if (below(2)) schema["minLength"] = below(5);
    if (below(2)) schema["maxLength"] = 5 + below(20);
    return schema;
  }
  SchemaText integer() {
    SchemaText schema = {{"type", "integer"}};
    switch (below(4)) {
      case 0:
        schema["minimum"] = below(2);
        break;
      case 1:
        schema["minimum"] = -below(50);
        schema["maximum"] = below(500);
        break;
      default:
        break;
    }
    return schema;
  }
  SchemaText number() {
    SchemaText schema = {{"type", "number"}};
    if (below(2)) schema["minimum"] = 0;
    return schema;
  }

  CounterRng rng_;
  std::uint32_t drawn_ = 0;
};

/// Whether a value conforms to such a schema; written from the standard, not from the program.
inline bool conforms(const SchemaText& value, const SchemaText& schema) {
  if (schema.contains("const")) return value == schema["const"];
  if (schema.contains("enum")) {
    for (const SchemaText& one : schema["enum"])
      if (value == one) return true;
    return false;
  }
  const std::string type = schema["type"];
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_boolean();
  if (type == "string") {
    if (!value.is_string()) return false;
    int characters = 0;
    for (const char byte : value.get<std::string>()) characters += (byte & 0xc0) != 0x80;
    return characters >= schema.value("minLength", 0) &&
           characters <= schema.value("maxLength", 1 << 20);
  }
  if (type == "integer" || type == "number") {
    if (!(type == "integer" ? value.is_number_integer() : value.is_number())) return false;
    const double x = value.get<double>();
    return x >= schema.value("minimum", -1e300) && x <= schema.value("maximum", 1e300);
  }
  if (type == "array") {
    if (!value.is_array() || value.size() != schema["minItems"].get<std::size_t>()) return false;
    for (const SchemaText& item : value)
      if (!conforms(item, schema["items"])) return false;
    return true;
  }
  if (!value.is_object() || value.size() != schema["properties"].size()) return false;
  auto property = schema["properties"].begin();
  for (const auto& [name, item] : value.items()) {
    if (name != property.key() || !conforms(item, property.value())) return false;
    ++property;
  }
  return true;
}

}  // namespace lacuna::testing
