#include "data/dialogue.h"

#include <initializer_list>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "data/dialogue_keys.h"
#include "data/jsonl_object.h"

namespace lacuna {
namespace {

using nlohmann::json;

// Of the forms that dialogue.h lists.
constexpr const char* kFields[] = {"messages",   "conversations", "system", "prompt", "response",
                                   "completion", "instruction",   "input",  "output"};

/// A role as this program calls it.
std::string role_of(const std::string& word, const std::string& place) {
  if (word == "system" || word == "user" || word == "assistant") return word;
  if (word == "human") return "user";
  if (word == "gpt" || word == "chatgpt" || word == "bot" || word == "model") return "assistant";
  fail(str(place, ": unknown role \"", word,
           "\"; roles are system, user (human) and assistant (gpt)"));
}

/// A field that is there and not null, else null.
const json* field_of(const json& object, const char* field) {
  const auto found = object.find(field);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

/// Reads one record.
class Reader {
 public:
  Reader(const json& record, const std::string& place, std::set<std::string>& ignored)
      : record_(record), place_(place), ignored_(ignored) {}

  Dialogue read() {
    check_unread_keys(record_, {std::begin(kFields), std::end(kFields)}, KeyLevel::record, place_,
                      ignored_);
    if (const json* messages = take("messages")) {
      refuse_beside("messages", {"system", "conversations", "response", "completion", "output"});
      append_messages(*messages, "messages", true);
    } else if (const json* conversations = take("conversations")) {
      refuse_beside("conversations", {"response", "completion", "output"});
      append_system();
      append_messages(*conversations, "conversations", true);
    } else if (const json* prompt = take("prompt")) {
      refuse_beside("prompt", {"instruction", "input", "output"});
      append_system();
      append(*prompt, "prompt", "user", false);
      append_reply({"response", "completion"},
                   "has \"prompt\" but neither \"response\" nor \"completion\"");
    } else if (const json* instruction = take("instruction")) {
      append_system();
      std::string question = text_of(*instruction, "instruction");
      const json* field = take("input");
      const std::string input = field ? text_of(*field, "input") : "";
      if (!input.empty()) question += "\n\n" + input;
      dialogue_.push_back({"user", question});
      append_reply({"output"}, "has \"instruction\" but no \"output\"");
      refuse_beside("instruction", {"response", "completion"});
    } else {
      fail(place_ +
           ": is no dialogue: it has none of \"messages\", \"prompt\" and \"response\", "
           "\"instruction\" and \"output\", \"conversations\"");
    }
    for (const char* field : kFields)
      if (field_of(record_, field) && read_.count(field) == 0) ignored_.insert(field);
    return std::move(dialogue_);
  }

 private:
  const json* take(const char* field) {
    const json* value = field_of(record_, field);
    if (value) read_.insert(field);
    return value;
  }

  /// Fields of other forms, of which one cannot tell how they belong to this one.
  void refuse_beside(const char* form, std::initializer_list<const char*> fields) const {
    for (const char* field : fields) {
      const json* value = field_of(record_, field);
      CHECK(!value || (value->is_string() && value->get_ref<const std::string&>().empty()), place_,
            ": has \"", field, "\" beside \"", form, "\", where it would be dropped");
    }
  }

  void append_system() {
    const json* system = take("system");
    const std::string text = system ? text_of(*system, "system") : "";
    if (!text.empty()) dialogue_.push_back({"system", text});
  }

  void append_reply(std::initializer_list<const char*> fields, const char* missing) {
    const json* reply = nullptr;
    for (const char* field : fields) {
      const json* value = field_of(record_, field);
      if (!value) continue;
      CHECK(!reply, place_, ": has both \"response\" and \"completion\"");
      reply = take(field);
      append(*reply, field, "assistant", true);
    }
    CHECK(reply, place_, ": ", missing);
  }

  /// A text of one role, or messages.
  void append(const json& value, const char* field, const char* role, bool learn) {
    const bool messages = value.is_array() && !value.empty() && value[0].is_object() &&
                          (value[0].contains("role") || value[0].contains("from"));
    if (messages)
      append_messages(value, field, learn);
    else
      dialogue_.push_back({role, text_of(value, field)});
  }

  void append_messages(const json& list, const char* name, bool learn) {
    CHECK(list.is_array(), place_, ": field \"", name, "\" is not a list but ", list.type_name());
    CHECK(!list.empty(), place_, ": field \"", name, "\" holds no message");
    const bool share_gpt = name == std::string_view("conversations");
    for (const json& message : list) append_message(message, share_gpt, learn);
  }

  void append_message(const json& message, bool share_gpt, bool learn) {
    CHECK(message.is_object(), place_, ": a message is not an object but ", message.type_name());
    // Either pair of names is found under either list's name.
    if (!message.contains(share_gpt ? "from" : "role") &&
        message.contains(share_gpt ? "role" : "from"))
      share_gpt = !share_gpt;
    const char* role = share_gpt ? "from" : "role";
    const char* content = share_gpt ? "value" : "content";
    const auto member = [&](const char* field) -> const json& {
      const auto found = message.find(field);
      CHECK(found != message.end(), place_, ": a message has no field \"", field, "\"");
      return *found;
    };
    check_unread_keys(message, {role, content}, KeyLevel::message, place_, ignored_);
    const json& word = member(role);
    CHECK(word.is_string(), place_, ": field \"", role, "\" is not a string but ",
          word.type_name());
    Message read{role_of(word.get<std::string>(), place_), text_of(member(content), content)};
    const bool of_assistant = read.role == "assistant";
    const bool wanted = is_trained_on(message, of_assistant, place_);
    if (of_assistant) read.learn = wanted && learn;
    dialogue_.push_back(std::move(read));
  }

  std::string text_of(const json& value, const char* field) const {
    if (value.is_string()) return value.get<std::string>();
    CHECK(value.is_array(), place_, ": field \"", field, "\" is not a string but ",
          value.type_name());
    std::string text;
    for (const json& part : value) {
      const auto type = part.is_object() ? part.find("type") : part.end();
      CHECK(part.is_object() && type != part.end() && *type == "text", place_, ": field \"", field,
            "\" has a part that is no text: it is ", part.is_object() ? "of type " : "",
            !part.is_object()    ? std::string(part.type_name())
            : type == part.end() ? "none"
                                 : type->dump().substr(0, 40));
      check_unread_keys(part, {"type", "text"}, KeyLevel::part, place_, ignored_);
      const json* words = field_of(part, "text");
      CHECK(words && words->is_string(), place_, ": field \"", field,
            "\" has a part that is no text: its \"text\" is ",
            words ? std::string("not a string but ") + words->type_name() : "missing or null");
      text += words->get_ref<const std::string&>();
    }
    return text;
  }

  const json& record_;
  const std::string& place_;
  std::set<std::string>& ignored_;
  std::set<std::string_view> read_;
  Dialogue dialogue_;
};

}  // namespace

Dialogue parse_dialogue(const std::string& record, const std::string& place,
                        std::set<std::string>& ignored) {
  return dialogue_of(parse_jsonl_object(record, place), place, ignored);
}

Dialogue dialogue_of(const nlohmann::json& record, const std::string& place,
                     std::set<std::string>& ignored) {
  return Reader(record, place, ignored).read();
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
