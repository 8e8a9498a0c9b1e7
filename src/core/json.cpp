#include "core/json.h"

#include <unordered_set>
#include <vector>

#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

/// Checks what parsing could choke on, before memory is spent on it: size, depth, the number of
/// values. The text need not be JSON.
void check_limits(std::string_view text, const std::string& what) {
  CHECK(text.size() <= kLargestJson, what, ": is JSON of ", human_bytes(std::int64_t(text.size())),
        "; at most ", human_bytes(kLargestJson), " are read");
  int depth = 0;
  std::size_t values = 1;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    // nlohmann's parser takes a NUL for the end of the text.
    CHECK(c != '\0', what, ": malformed JSON, byte ", i + 1, " is NUL");
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      CHECK(++depth <= kDeepestJson, what, ": is nested more than ", kDeepestJson, " deep");
      ++values;
    } else if (c == ']' || c == '}') {
      --depth;
    } else if (c == ',') {
      ++values;
    }
  }
  CHECK(values <= kMostJsonValues, what, ": holds more than ",
        with_commas(std::int64_t(kMostJsonValues)), " JSON values");
}

/// Refuses a key that an object has had.
template <class Json>
class UniqueKeys {
 public:
  explicit UniqueKeys(const std::string& what) : what_(what) {}

  bool operator()(int, typename Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) {
      keys_.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      keys_.pop_back();
    } else if (event == Json::parse_event_t::key) {
      const auto& key = parsed.template get_ref<const std::string&>();
      CHECK(keys_.back().insert(key).second, what_, ": has the key \"", shown(key), "\" twice");
    }
    return true;
  }

 private:
  const std::string& what_;
  std::vector<std::unordered_set<std::string>> keys_;  // of the objects that are not complete
};

/// "[json.exception.parse_error.101] parse error at line 1, column 9: …" without what is the
/// library's own; of a text of one line, whose number may be in the place, without the line too.
std::string reason_of(const std::exception& error, bool one_line) {
  std::string_view reason = error.what();
  if (const auto at = reason.find("] "); at != std::string_view::npos) reason.remove_prefix(at + 2);
  constexpr std::string_view in_line = "parse error at ", in_text = "parse error at line 1, ";
  if (one_line && reason.starts_with(in_text))
    reason.remove_prefix(in_text.size());
  else if (reason.starts_with(in_line))
    reason.remove_prefix(in_line.size());
  return shown(reason);
}

}  // namespace

template <class Json>
Json parse_json(std::string_view text, const std::string& what) {
  check_limits(text, what);
  try {
    UniqueKeys<Json> unique(what);
    return Json::parse(text, std::ref(unique));
  } catch (const typename Json::exception& e) {
    fail(str(what, ": malformed JSON, ", reason_of(e, text.find('\n') == std::string_view::npos)));
  }
}

template <class Json>
Json parse_json_object(std::string_view text, const std::string& what) {
  Json json = parse_json<Json>(text, what);
  CHECK(json.is_object(), what, ": is not a JSON object but ", json.type_name());
  return json;
}

std::string json_text(const nlohmann::ordered_json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

template nlohmann::json parse_json(std::string_view, const std::string&);
template nlohmann::ordered_json parse_json(std::string_view, const std::string&);
template nlohmann::json parse_json_object(std::string_view, const std::string&);
template nlohmann::ordered_json parse_json_object(std::string_view, const std::string&);

}  // namespace lacuna
