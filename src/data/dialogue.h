#pragma once
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

namespace lacuna {

struct Message {
  std::string role;  // "system", "user" or "assistant"
  std::string content;
  bool learn = true;  // of the assistant's: whether the reply is trained on
  bool operator==(const Message&) const = default;
};
using Dialogue = std::vector<Message>;

/// The dialogue in a record of a JSONL file, in any of the forms that people have:
///   {"messages": [{"role": "user", "content": "…"}, …]}       content also as a list of text parts
///   {"prompt": "…", "response": "…"}                          or "completion"; either also as a
///                                                             list of messages
///   {"instruction": "…", "input": "…", "output": "…"}         Alpaca; an input that is not empty
///                                                             follows after an empty line
///   {"conversations": [{"from": "human", "value": "…"}, …]}   ShareGPT; gpt is the assistant
/// with "system" beside any but the first. A key that is null counts as absent.
///
/// "weight", "train", "training" or "loss" of a reply, 0 or false, keeps it from being trained on,
/// as do replies within a list under "prompt". Throws Error, naming `place` (file:line), for
/// malformed JSON, none of these forms, a field of another type, an unknown role; and for keys that
/// would change what the example means, such as "tool_calls", "images" or "rejected", unless they
/// are empty. Other keys that are not read are added to `ignored`.
Dialogue parse_dialogue(const std::string& record, const std::string& place,
                        std::set<std::string>& ignored);
/// The same of a record that is parsed already.
Dialogue dialogue_of(const nlohmann::json& record, const std::string& place,
                     std::set<std::string>& ignored);

/// Why the roles are not those of a dialogue (one system message at most, at the beginning; then
/// user and assistant in turn), or "".
std::string role_fault(const Dialogue& dialogue);

}  // namespace lacuna
