#pragma once
// For dialogue.cpp alone: what becomes of the keys of a record that it does not read.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

namespace lacuna {

/// What holds the keys.
enum class KeyLevel : std::uint8_t { record, message, part };

/// Looks through the keys of `object` other than `read`, which its reader takes. Throws Error,
/// naming `place`, for one that has a value and would change what the example means; others are
/// named in `ignored`: "id", "name (of messages)".
void check_unread_keys(const nlohmann::json& object, const std::set<std::string_view>& read,
                       KeyLevel level, const std::string& place, std::set<std::string>& ignored);

/// Whether a message is to be trained on, by the keys "weight", "train", "training" and "loss":
/// true unless one is 0 or false. Throws Error, naming `place`, for other values, and for 1 or true
/// when the message is not `of_assistant`.
bool is_trained_on(const nlohmann::json& message, bool of_assistant, const std::string& place);

}  // namespace lacuna
