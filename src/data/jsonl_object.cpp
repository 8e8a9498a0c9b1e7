#include "data/jsonl_object.h"

#include <set>
#include <string_view>
#include <vector>

namespace lacuna {
namespace {

using nlohmann::json;

constexpr int kDeepest = 100;
constexpr std::size_t kShown = 200;

/// Bounded in length: what is quoted from the text may be all of it.
std::string shortened(std::string_view text) {
  return text.size() > kShown ? str(text.substr(0, kShown), "…") : std::string(text);
}

/// "[json.exception.parse_error.101] parse error at line 1, column 9: …" without what is the
/// library's own; of a text of one line, whose number is in the place, without the line too.
std::string reason_of(const json::exception& e) {
  std::string_view reason = e.what();
  if (const auto at = reason.find("] "); at != std::string_view::npos) reason.remove_prefix(at + 2);
  for (const std::string_view known : {"parse error at line 1, ", "parse error at "})
    if (reason.starts_with(known)) {
      reason.remove_prefix(known.size());
      break;
    }
  const bool cut_short = reason.find("unexpected end of input") != std::string_view::npos;
  return shortened(reason) + (cut_short ? "; a record of a JSONL file is one line" : "");
}

}  // namespace

json parse_jsonl_object(const std::string& text, const std::string& place) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
    CHECK(depth <= kDeepest, place, ": is nested more than ", kDeepest, " deep");
    if (event == json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      CHECK(keys.back().insert(key).second, place, ": has the key \"", shortened(key), "\" twice");
    }
    return true;
  };
  // The parser would take a NUL for the end of the text.
  const std::size_t nul = text.find('\0');
  CHECK(nul == std::string::npos, place, ": malformed JSON, byte ", nul + 1, " is NUL");
  json object;
  try {
    object = json::parse(text, check);
  } catch (const json::exception& e) {
    fail(str(place, ": malformed JSON, ", reason_of(e)));
  }
  CHECK(object.is_object(), place, ": is not a JSON object but ", object.type_name());
  return object;
}

}  // namespace lacuna
