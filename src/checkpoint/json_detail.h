#pragma once
// For the .cpp files of checkpoint/ that read JSON alone.
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"

namespace lacuna {

/// Text from a file, for a message: at most 120 bytes of it, in one line.
inline std::string shown(std::string_view text) {
  std::string line(text.substr(0, 120));
  for (char& c : line)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return text.size() > 120 ? line + "..." : line;
}

/// Parses an object. Error, beginning with `what`, for anything else; for a key twice in one
/// object, of which a reader would silently drop one; and for nesting so deep that walking it could
/// exhaust the stack.
template <class Json>
Json parse_json_object(std::string_view text, const std::string& what) {
  constexpr int kDeepest = 100;
  std::vector<std::set<std::string>> keys;
  const auto callback = [&](int depth, typename Json::parse_event_t event, Json& parsed) {
    CHECK(depth <= kDeepest, what, ": is nested more than ", kDeepest, " deep");
    if (event == Json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == Json::parse_event_t::key) {
      const auto key = parsed.template get<std::string>();
      CHECK(keys.back().insert(key).second, what, ": has the key '", shown(key), "' twice");
    }
    return true;
  };
  // nlohmann's parser takes a NUL for the end of the text.
  CHECK(text.find('\0') == std::string_view::npos, what, ": is not valid JSON: holds a NUL");
  Json json;
  try {
    json = Json::parse(text, callback);
  } catch (const typename Json::exception& e) {
    const std::string_view reason(e.what());
    const auto name_end = reason.find("] ");  // "[json.exception.parse_error.101] parse error…"
    fail(what + ": is not valid JSON: " +
         shown(name_end == std::string_view::npos ? reason : reason.substr(name_end + 2)));
  }
  CHECK(json.is_object(), what, ": is not a JSON object");
  return json;
}

}  // namespace lacuna
