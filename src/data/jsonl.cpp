#include "data/jsonl.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "core/check.h"
#include "core/text.h"

namespace lacuna {

std::string jsonl_text(const std::string& line, const std::string& field,
                       const std::string& place) {
  using nlohmann::json;
  json object;
  try {
    object = json::parse(line);
  } catch (const json::parse_error& e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 9: …": the line is ours.
    std::string reason = e.what();
    if (const auto at = reason.find("column "); at != std::string::npos) reason = reason.substr(at);
    fail(str(place, ": malformed JSON, ", reason));
  }
  CHECK(object.is_object(), place, ": is not a JSON object but ", object.type_name());
  const auto found = object.find(field);
  if (found == object.end()) {
    std::vector<std::string> keys;
    for (const auto& item : object.items()) keys.push_back(item.key());
    const std::string near = nearest(field, keys);
    fail(str(place, ": has no field \"", field, "\"",
             near.empty() ? "" : str("; did you mean --text-field ", near, "?")));
  }
  CHECK(found->is_string(), place, ": field \"", field, "\" is not a string but ",
        found->type_name());
  return std::move(found->get_ref<std::string&>());
}

}  // namespace lacuna
