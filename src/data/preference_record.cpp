#include "data/preference_record.h"

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/check.h"
#include "data/jsonl_object.h"

namespace lacuna {
namespace {

using nlohmann::json;

/// The names of a form's two replies.
struct ReplyKeys {
  const char *chosen, *rejected;
};
constexpr ReplyKeys kReplies = {"chosen", "rejected"},
                    kOpenAi = {"preferred_output", "non_preferred_output"};

bool has_value(const json& record, const char* key) {
  const auto found = record.find(key);
  return found != record.end() && !found->is_null();
}

json without(json record, std::initializer_list<const char*> keys) {
  for (const char* key : keys) record.erase(key);
  return record;
}

/// Whether a reply is a whole dialogue, which begins with what is replied to.
bool is_dialogue(const json& reply) {
  if (!reply.is_array() || reply.empty() || !reply[0].is_object()) return false;
  for (const char* key : {"role", "from"})
    if (const auto role = reply[0].find(key); role != reply[0].end())
      return *role == "user" || *role == "human" || *role == "system";
  return false;
}

/// A list of messages with more behind it.
json appended(json list, const json& more, const char* name, const std::string& place) {
  CHECK(list.is_array(), place, ": field \"", name, "\" is not a list but ", list.type_name());
  if (more.is_array())
    list.insert(list.end(), more.begin(), more.end());
  else if (more.is_object())
    list.push_back(more);
  else
    list.push_back({{"from", "gpt"}, {"value", more}});
  return list;
}

/// The record with a reply in the place where a dialogue has its own.
json openai_side(const json& record, const json& reply, const std::string& place) {
  json side = without(record, {kOpenAi.chosen, kOpenAi.rejected, "input"});
  const auto input = record.find("input");
  CHECK(input != record.end() && input->is_object() && input->contains("messages"), place,
        ": has \"", kOpenAi.chosen, "\" but no \"messages\" in \"input\"");
  for (const auto& [key, value] : input->items()) side[key] = value;
  side["messages"] = appended(side["messages"], reply, "messages", place);
  return side;
}

json side_of(const json& record, const json& reply, const std::string& place) {
  json side = without(record, {kReplies.chosen, kReplies.rejected});
  if (is_dialogue(reply)) {
    side.erase("prompt");
    side["messages"] = reply;
  } else if (has_value(record, "conversations")) {
    side["conversations"] = appended(record["conversations"], reply, "conversations", place);
  } else if (has_value(record, "instruction")) {
    side["output"] = reply;
  } else {
    if (!has_value(record, "prompt") && has_value(record, "question")) {
      side["prompt"] = record["question"];
      side.erase("question");
    }
    CHECK(has_value(side, "prompt"), place,
          ": has \"chosen\" and \"rejected\" but no \"prompt\" that they answer");
    side["response"] = reply;
  }
  return side;
}

/// A prompt beside whole dialogues can only repeat how they begin.
void check_repeated_prompt(const json& record, const PreferenceRecord& pair,
                           const std::string& place) {
  if (!has_value(record, "prompt") || !is_dialogue(record[kReplies.chosen])) return;
  const std::size_t first = pair.chosen[0].role == "system" ? 1 : 0;
  CHECK(record["prompt"].is_string() && first < pair.chosen.size() &&
            pair.chosen[first].content == record["prompt"].get_ref<const std::string&>(),
        place, ": \"prompt\" stands beside whole dialogues, and is not their first message");
}

}  // namespace

PreferenceRecord parse_preference(const std::string& text, const std::string& place,
                                  std::set<std::string>& ignored) {
  const json record = parse_jsonl_object(text, place);
  const bool openai = has_value(record, kOpenAi.chosen) || has_value(record, kOpenAi.rejected);
  const ReplyKeys keys = openai ? kOpenAi : kReplies;
  for (const char* key : {keys.chosen, keys.rejected})
    CHECK(has_value(record, key), place, ": is no pair of replies: it has no \"", key, "\"");
  const auto side = [&](const char* key) {
    const json& reply = record[key];
    return dialogue_of(openai ? openai_side(record, reply, place) : side_of(record, reply, place),
                       place, ignored);
  };
  PreferenceRecord pair{side(keys.chosen), side(keys.rejected)};
  if (!openai) check_repeated_prompt(record, pair, place);
  const Dialogue &a = pair.chosen, &b = pair.rejected;
  for (const Dialogue* d : {&a, &b})
    CHECK(d->back().role == "assistant", place, ": \"", d == &a ? keys.chosen : keys.rejected,
          "\" does not end with a reply of the assistant");
  const auto same = [](const Message& x, const Message& y) {
    return x.role == y.role && x.content == y.content;
  };
  CHECK(a.size() == b.size() && std::equal(a.begin(), a.end() - 1, b.begin(), same), place,
        ": the two dialogues differ before their last reply");
  return pair;
}

}  // namespace lacuna
