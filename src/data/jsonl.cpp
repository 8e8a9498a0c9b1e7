#include "data/jsonl.h"

#include <vector>

#include "core/check.h"
#include "core/text.h"
#include "data/jsonl_object.h"

namespace lacuna {

std::string jsonl_text(const std::string& line, const std::string& field,
                       const std::string& place) {
  nlohmann::json object = parse_jsonl_object(line, place);
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
