#pragma once
// For the .cpp files of data/ and evaluation/ that read JSON alone.
#include <nlohmann/json.hpp>
#include <string>

#include "core/check.h"

namespace lacuna {

/// The object on a line of a JSONL file. Throws Error naming `place` (file:line) for anything else.
inline nlohmann::json parse_jsonl_object(const std::string& line, const std::string& place) {
  nlohmann::json object;
  try {
    object = nlohmann::json::parse(line);
  } catch (const nlohmann::json::parse_error& e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 9: …": the line is ours.
    std::string reason = e.what();
    if (const auto at = reason.find("column "); at != std::string::npos) reason = reason.substr(at);
    fail(str(place, ": malformed JSON, ", reason));
  }
  CHECK(object.is_object(), place, ": is not a JSON object but ", object.type_name());
  return object;
}

}  // namespace lacuna
