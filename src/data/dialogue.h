#pragma once
#include <string>
#include <vector>

namespace lacuna {

struct Message {
  std::string role;  // "system", "user" or "assistant"
  std::string content;
  bool operator==(const Message&) const = default;
};
using Dialogue = std::vector<Message>;

/// The dialogue in a line of a JSONL file, in any of the forms that people have:
///   {"messages": [{"role": "user", "content": "…"}, …]}       content also as a list of text parts
///   {"prompt": "…", "response": "…"}                          or "completion"
///   {"instruction": "…", "input": "…", "output": "…"}         Alpaca; an input that is not empty
///                                                             follows after an empty line
///   {"conversations": [{"from": "human", "value": "…"}, …]}   ShareGPT; gpt is the assistant
/// with "system" beside any but the first. Throws Error, naming `place` (file:line), for malformed
/// JSON, none of these forms, a field of another type, or an unknown role.
Dialogue parse_dialogue(const std::string& line, const std::string& place);

/// Why the roles are not those of a dialogue (one system message at most, at the beginning; then
/// user and assistant in turn), or "".
std::string role_fault(const Dialogue& dialogue);

}  // namespace lacuna
