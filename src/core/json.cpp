#include "core/json.h"

#include <type_traits>
#include <unordered_set>
#include <utility>
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

/// Builds the value of a text, as the library's own builder does, but refuses a key that an object
/// has had, and takes a time that grows with the text alone: nlohmann::ordered_json, whose object
/// is a list, compares a key that is set with all before it.
template <class Json>
class Builder final : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(const std::string& what) : what_(what) {}
  Json take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool x) override { return put(x); }
  bool number_integer(typename Json::number_integer_t x) override { return put(x); }
  bool number_unsigned(typename Json::number_unsigned_t x) override { return put(x); }
  bool number_float(typename Json::number_float_t x, const std::string&) override { return put(x); }
  bool string(std::string& text) override { return put(std::move(text)); }
  bool binary(typename Json::binary_t&) override { return false; }  // no text has any
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }
  bool start_object(std::size_t) override {
    keys_.emplace_back();
    return open(Json::object());
  }
  bool end_object() override {
    keys_.pop_back();
    return close();
  }
  bool key(std::string& name) override {
    CHECK(keys_.back().insert(name).second, what_, ": has the key \"", shown(name), "\" twice");
    key_ = std::move(name);
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& e) override {
    reason = e.what();
    return false;
  }

  std::string reason;  // of the library, for a text that is no JSON

 private:
  Json* place(Json value) {
    if (open_.empty()) return &(root_ = std::move(value));
    if (open_.back()->is_array()) {
      auto& array = open_.back()->template get_ref<typename Json::array_t&>();
      array.push_back(std::move(value));
      return &array.back();
    }
    auto& object = open_.back()->template get_ref<typename Json::object_t&>();
    if constexpr (std::is_same_v<Json, nlohmann::ordered_json>) {
      object.emplace_back(std::move(key_), std::move(value));
      return &object.back().second;
    } else {
      return &object.emplace(std::move(key_), std::move(value)).first->second;
    }
  }
  bool put(Json value) {
    place(std::move(value));
    return true;
  }
  bool open(Json container) {
    open_.push_back(place(std::move(container)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  const std::string& what_;
  Json root_;
  std::vector<Json*> open_;                            // each the last element of the one before
  std::vector<std::unordered_set<std::string>> keys_;  // of the objects that are open
  std::string key_;
};

/// "[json.exception.parse_error.101] parse error at line 1, column 9: …" without what is the
/// library's own; of a text of one line, whose number may be in the place, without the line too.
std::string reason_of(std::string_view reason, bool one_line) {
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
  Builder<Json> builder(what);
  if (!Json::sax_parse(text, &builder))
    fail(str(what, ": malformed JSON, ",
             reason_of(builder.reason, text.find('\n') == std::string_view::npos)));
  return builder.take();
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
