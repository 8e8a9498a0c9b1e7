#pragma once
// For the .cpp files that read requests alone.
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "config/words.h"
#include "core/check.h"
#include "core/json.h"
#include "core/text.h"
#include "server/api_error.h"

namespace lacuna {

/// Reads the fields of a JSON object. ApiError (400), naming the field, where one is not of its
/// type. A field that is null counts as absent.
class JsonFields {
 public:
  using Json = nlohmann::ordered_json;  // the order of a schema's properties counts

  /// `path` stands before the names of fields in messages: "stream_options.".
  explicit JsonFields(Json object, std::string path = "")
      : object_(std::move(object)), path_(std::move(path)) {}
  /// Of the body of a request.
  static JsonFields of(std::string_view body) {
    try {
      return JsonFields(parse_json_object<Json>(body, "the body of the request"));
    } catch (const Error& e) {
      throw ApiError(400, e.what());
    }
  }

  /// The value, or null: the field is one of those that are known.
  const Json* find(const std::string& name) {
    known_.insert(name);
    const auto at = object_.find(name);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }
  [[noreturn]] void refuse(const std::string& name, const std::string& why,
                           const std::string& code = "") const {
    throw ApiError(400, "'" + path_ + name + "' " + why, path_ + name, code);
  }

  std::optional<bool> boolean(const std::string& name) {
    const Json* value = find(name);
    if (!value) return std::nullopt;
    if (!value->is_boolean()) refuse(name, "must be true or false");
    return value->get<bool>();
  }
  std::optional<double> number(const std::string& name) {
    const Json* value = find(name);
    if (!value) return std::nullopt;
    if (!value->is_number()) refuse(name, "must be a number");
    return value->get<double>();
  }
  std::optional<std::int64_t> integer(const std::string& name, std::int64_t least,
                                      std::int64_t most) {
    const Json* value = find(name);
    if (!value) return std::nullopt;
    if (const std::optional<std::int64_t> n = whole(*value); n && *n >= least && *n <= most)
      return n;
    refuse(name, str("must be a whole number from ", least, " to ", most));
  }
  std::optional<std::string> text(const std::string& name) {
    const Json* value = find(name);
    if (!value) return std::nullopt;
    if (!value->is_string()) refuse(name, "must be a string");
    return value->get<std::string>();
  }
  template <class Word>
  std::optional<Word> word(const std::string& name) {
    const std::optional<std::string> value = text(name);
    if (!value) return std::nullopt;
    if (const std::optional<Word> parsed = parse_word<Word>(*value)) return parsed;
    refuse(name, "must be " + listed(all_words<Word>(), "or"));
  }
  std::optional<JsonFields> object(const std::string& name) {
    const Json* value = find(name);
    if (!value) return std::nullopt;
    if (!value->is_object()) refuse(name, "must be an object");
    return JsonFields(*value, path_ + name + ".");
  }
  std::optional<std::vector<std::int32_t>> token_ids(const std::string& name) {
    const Json* value = find(name);
    if (!value) return std::nullopt;
    if (std::optional<std::vector<std::int32_t>> found = ids_of(*value)) return found;
    refuse(name, "must be a list of token ids");
  }

  /// Whole numbers from 0 on; nothing where an element is something else.
  static std::optional<std::vector<std::int32_t>> ids_of(const Json& value) {
    if (!value.is_array()) return std::nullopt;
    std::vector<std::int32_t> ids;
    for (const Json& element : value) {
      const std::optional<std::int32_t> id = id_of(element);
      if (!id) return std::nullopt;
      ids.push_back(*id);
    }
    return ids;
  }
  static std::optional<std::int32_t> id_of(const Json& value) {
    const std::optional<std::int64_t> id = whole(value);
    if (!id || *id < 0 || *id > std::numeric_limits<std::int32_t>::max()) return std::nullopt;
    return std::int32_t(*id);
  }

  /// A field that is known and not supported: refused, but for a value that changes nothing.
  void unsupported(const std::string& name, const std::vector<Json>& harmless,
                   const std::string& why = "is not supported") {
    const Json* value = find(name);
    if (!value) return;
    for (const Json& one : harmless)
      if (*value == one) return;
    refuse(name, why, "unsupported_parameter");
  }
  /// Refuses the first field that no member function was asked for.
  void refuse_others() const {
    const std::vector<std::string> names(known_.begin(), known_.end());
    for (const auto& [name, value] : object_.items()) {
      if (known_.contains(name)) continue;
      const std::string near = nearest(name, names);
      refuse(shown(name), "is not known" + (near.empty() ? "" : "; did you mean '" + near + "'?"),
             "unknown_parameter");
    }
  }

 private:
  static std::optional<std::int64_t> whole(const Json& value) {
    if (value.is_number_unsigned() &&
        value.get<std::uint64_t>() > std::uint64_t(std::numeric_limits<std::int64_t>::max()))
      return std::nullopt;
    if (value.is_number_integer()) return value.get<std::int64_t>();
    return std::nullopt;
  }

  Json object_;
  std::string path_;
  std::set<std::string> known_;
};

}  // namespace lacuna
