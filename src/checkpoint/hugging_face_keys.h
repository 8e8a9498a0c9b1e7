#pragma once
// For the .cpp files that read and write config.json alone.
#include <cstdint>
#include <span>
#include <string>

#include "config/config.h"
#include "core/check.h"
#include "core/json.h"
#include "core/text.h"

namespace lacuna {

/// The values of a config.json; errors name the file, the key and its value.
class HuggingFaceKeys {
 public:
  using Json = nlohmann::ordered_json;
  HuggingFaceKeys(const Json& json, const std::string& file) : json_(json), file_(file) {}

  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }
  std::int64_t integer(const char* key) const {
    CHECK(has(key), file_, ": has no ", key);
    const Json& v = json_[key];
    CHECK(v.is_number_integer(), file_, ": ", key, " = ", shown(v.dump()), " is not an integer");
    return v.get<std::int64_t>();
  }
  std::int64_t integer(const char* key, std::int64_t otherwise) const {
    return has(key) ? integer(key) : otherwise;
  }
  double number(const char* key, double otherwise) const {
    if (!has(key)) return otherwise;
    const Json& v = json_[key];
    CHECK(v.is_number(), file_, ": ", key, " = ", shown(v.dump()), " is not a number");
    return v.get<double>();
  }
  const Json& json() const { return json_; }
  const std::string& file() const { return file_; }
  bool flag(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    const Json& v = json_[key];
    CHECK(v.is_boolean(), file_, ": ", key, " = ", shown(v.dump()), " is neither true nor false");
    return v.get<bool>();
  }
  /// A token id, or one of a list of them (the first), or -1.
  std::int64_t token(const char* key) const {
    if (has(key) && json_[key].is_array() && !json_[key].empty() &&
        json_[key][0].is_number_integer())
      return json_[key][0].get<std::int64_t>();
    return integer(key, -1);
  }

 private:
  const Json& json_;
  const std::string& file_;
};

/// A key that decides what is computed, and the one value that this program computes.
struct FixedKey {
  const char* key;
  const char* value;  // JSON
  bool assumed;       // the family's own code would take a missing key for something else
};
/// Error for a key with another value; a warning for what is missing and assumed.
void check_fixed(const HuggingFaceKeys& keys, std::span<const FixedKey> fixed);

// Of each layout: the model that config.json describes, not yet validated; the keys that say what a
// model is, with their values; and a config.json without them.

ModelConfig model_of_llada_keys(const HuggingFaceKeys& keys);
nlohmann::ordered_json llada_keys_of(const ModelConfig& model);
nlohmann::ordered_json llada_template();

struct ModelFamily;
ModelConfig model_of_llama_keys(const HuggingFaceKeys& keys, const ModelFamily& family);
nlohmann::ordered_json llama_keys_of(const ModelConfig& model, const ModelFamily& family);
nlohmann::ordered_json llama_template(const ModelFamily& family);

/// A token id, or null for -1.
inline nlohmann::ordered_json token_key(std::int64_t id) {
  return id >= 0 ? nlohmann::ordered_json(id) : nlohmann::ordered_json(nullptr);
}

}  // namespace lacuna
