#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lacuna {

/// A JSON Schema whose values have one shape, so that all but their slots can be written down
/// beforehand (structured/json_skeleton.h).
struct JsonSchema {
  enum class Kind : std::uint8_t { object, array, string, integer, number, choice };
  enum class Sign : std::uint8_t { any, not_negative, positive };

  Kind kind = Kind::object;
  std::vector<std::pair<std::string, JsonSchema>> properties = {};  // object
  std::vector<JsonSchema> items = {};                               // array: of each element
  std::int64_t least = 0, most = -1;      // string: characters; most -1: any number
  Sign sign = Sign::any;                  // integer, number; a number is not `positive`
  std::vector<std::string> choices = {};  // choice: JSON texts, no two alike
};

/// Tokens of a string without maxLength, where nothing else is asked for.
inline constexpr std::int64_t kStringTokens = 16;
/// And at most, whatever is asked for.
inline constexpr std::int64_t kMostStringTokens = 4096;
/// Values that an enum may have, and a range of integers.
inline constexpr std::int64_t kMostSchemaChoices = 1024;

/// Reads what docs/serving.md lists: objects with `properties` (all of them are written, in their
/// order), arrays with minItems = maxItems, strings, integers, numbers, booleans, null, enum,
/// const, and $ref within the schema. Annotations (title, description, default, …) say nothing of
/// values. Error, naming the place and the keyword, for everything else and for what no value can
/// satisfy.
JsonSchema parse_json_schema(std::string_view text);

}  // namespace lacuna
