#pragma once
// For the .cpp files that read or write JSON alone: what comes from outside is parsed here.
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace lacuna {

/// A value may lie in so many arrays and objects: code that walks it may recurse.
inline constexpr int kDeepestJson = 100;
/// Bytes of a JSON text, and the values it may hold, which take some 70 bytes each: ten times those
/// of the largest tokenizer.json in use.
inline constexpr std::size_t kLargestJson = std::size_t{1} << 30;
inline constexpr std::size_t kMostJsonValues = std::size_t{1} << 24;

/// Parses a text. Error beginning with `what` (a file, or file:line) when it is not JSON, exceeds
/// the limits above, holds a NUL, a number that no double holds, or a key twice in one object, of
/// which a reader would silently drop one. Json: nlohmann::json or nlohmann::ordered_json.
template <class Json>
Json parse_json(std::string_view text, const std::string& what);
/// The same of a text that must be an object.
template <class Json>
Json parse_json_object(std::string_view text, const std::string& what);

/// The text of a value, in one line or with `indent` spaces per level. Bytes that are no UTF-8
/// become U+FFFD.
std::string json_text(const nlohmann::ordered_json& json, int indent = -1);

extern template nlohmann::json parse_json(std::string_view, const std::string&);
extern template nlohmann::ordered_json parse_json(std::string_view, const std::string&);
extern template nlohmann::json parse_json_object(std::string_view, const std::string&);
extern template nlohmann::ordered_json parse_json_object(std::string_view, const std::string&);

}  // namespace lacuna
