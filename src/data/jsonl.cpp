#include "data/jsonl.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "core/check.h"
#include "core/text.h"
#include "data/jsonl_object.h"

namespace lacuna {
namespace {

using nlohmann::json;

std::string take_string(json& value, const std::string& field, const std::string& place) {
  CHECK(value.is_string(), place, ": field \"", field, "\" is not a string but ",
        value.type_name());
  return std::move(value.get_ref<std::string&>());
}

}  // namespace

std::string jsonl_text(const std::string& line, const std::string& field,
                       const std::string& place) {
  json object = parse_jsonl_object(line, place);
  const auto found = object.find(field);
  if (found == object.end()) {
    std::vector<std::string> keys;
    for (const auto& item : object.items()) keys.push_back(item.key());
    const std::string near = nearest(field, keys);
    fail(str(place, ": has no field \"", field, "\"",
             near.empty() ? "" : str("; did you mean --text-field ", near, "?")));
  }
  return take_string(*found, field, place);
}

std::string jsonl_text_or(const std::string& line, const std::string& field,
                          const std::string& otherwise, const std::string& place) {
  json object = parse_jsonl_object(line, place);
  const auto found = object.find(field);
  return found == object.end() || found->is_null() ? otherwise : take_string(*found, field, place);
}

}  // namespace lacuna
