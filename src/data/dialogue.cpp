#include "data/dialogue.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "core/check.h"
#include "data/jsonl_object.h"

namespace lacuna {
namespace {

using nlohmann::json;

/// A role as this program calls it.
std::string role_of(const std::string& word, const std::string& place) {
  if (word == "system" || word == "user" || word == "assistant") return word;
  if (word == "human") return "user";
  if (word == "gpt" || word == "chatgpt" || word == "bot" || word == "model") return "assistant";
  fail(str(place, ": unknown role \"", word,
           "\"; roles are system, user (human) and assistant (gpt)"));
}

const json& member(const json& object, const char* field, const std::string& place) {
  CHECK(object.is_object(), place, ": a message is not an object but ", object.type_name());
  const auto found = object.find(field);
  CHECK(found != object.end(), place, ": a message has no field \"", field, "\"");
  return *found;
}

std::string text_of(const json& value, const char* field, const std::string& place) {
  if (value.is_string()) return value.get<std::string>();
  CHECK(value.is_array(), place, ": field \"", field, "\" is not a string but ", value.type_name());
  std::string text;
  for (const json& part : value) {
    const bool is_text = part.is_object() && part.value("type", "") == "text" &&
                         part.contains("text") && part["text"].is_string();
    CHECK(is_text, place, ": field \"", field, "\" has a part that is no text");
    text += part["text"].get<std::string>();
  }
  return text;
}

std::optional<std::string> field_of(const json& object, const char* field,
                                    const std::string& place) {
  const auto found = object.find(field);
  if (found == object.end() || found->is_null()) return std::nullopt;
  return text_of(*found, field, place);
}

Dialogue from_list(const json& list, const char* name, const char* role, const char* content,
                   const std::string& place) {
  CHECK(list.is_array(), place, ": field \"", name, "\" is not a list but ", list.type_name());
  Dialogue dialogue;
  for (const json& message : list) {
    const json& word = member(message, role, place);
    CHECK(word.is_string(), place, ": field \"", role, "\" is not a string but ", word.type_name());
    dialogue.push_back({role_of(word.get<std::string>(), place),
                        text_of(member(message, content, place), content, place)});
  }
  CHECK(!dialogue.empty(), place, ": field \"", name, "\" holds no message");
  return dialogue;
}

}  // namespace

Dialogue parse_dialogue(const std::string& line, const std::string& place) {
  const json object = parse_jsonl_object(line, place);
  if (object.contains("messages"))
    return from_list(object["messages"], "messages", "role", "content", place);
  Dialogue dialogue;
  if (const auto system = field_of(object, "system", place); system && !system->empty())
    dialogue.push_back({"system", *system});
  if (object.contains("conversations")) {
    const Dialogue rest =
        from_list(object["conversations"], "conversations", "from", "value", place);
    dialogue.insert(dialogue.end(), rest.begin(), rest.end());
    return dialogue;
  }
  std::optional<std::string> user = field_of(object, "prompt", place), reply;
  if (user) {
    reply = field_of(object, "response", place);
    if (!reply) reply = field_of(object, "completion", place);
    CHECK(reply, place, ": has \"prompt\" but neither \"response\" nor \"completion\"");
  } else if ((user = field_of(object, "instruction", place))) {
    const std::string input = field_of(object, "input", place).value_or("");
    if (!input.empty()) *user += "\n\n" + input;
    reply = field_of(object, "output", place);
    CHECK(reply, place, ": has \"instruction\" but no \"output\"");
  }
  CHECK(user, place,
        ": is no dialogue: it has none of \"messages\", \"prompt\" and \"response\", "
        "\"instruction\" and \"output\", \"conversations\"");
  dialogue.push_back({"user", *user});
  dialogue.push_back({"assistant", *reply});
  return dialogue;
}

std::string role_fault(const Dialogue& dialogue) {
  const std::size_t first = !dialogue.empty() && dialogue[0].role == "system" ? 1 : 0;
  for (std::size_t i = first; i < dialogue.size(); ++i) {
    const char* wanted = (i - first) % 2 == 0 ? "user" : "assistant";
    if (dialogue[i].role != wanted)
      return str("message ", i + 1, " is the ", dialogue[i].role, "'s where the ", wanted,
                 "'s turn is");
  }
  return dialogue.size() < first + 2 ? "no reply of the assistant" : "";
}

}  // namespace lacuna
