#include "data/jsonl_object.h"

namespace lacuna {

nlohmann::json parse_jsonl_object(const std::string& text, const std::string& place) {
  try {
    return parse_json_object<nlohmann::json>(text, place);
  } catch (const Error& e) {
    const std::string what = e.what();
    const bool cut_short = what.find("unexpected end of input") != std::string::npos;
    throw Error(cut_short ? what + "; a record of a JSONL file is one line" : what, e.where);
  }
}

}  // namespace lacuna
