#pragma once
#include <set>
#include <string>

#include "data/dialogue.h"

namespace lacuna {

/// Two dialogues that differ in their last message alone, the assistant's.
struct PreferenceRecord {
  Dialogue chosen, rejected;  // the first is preferred
};

/// The pair in a record of a JSONL file, in any of the forms that people have:
///   {"prompt": "…", "chosen": "…", "rejected": "…"}           TRL; each also as a list of messages
///   {"chosen": [messages], "rejected": [messages]}            TRL without a prompt: whole
///                                                             dialogues; a prompt beside them (as
///                                                             in UltraFeedback) repeats their
///                                                             first message of the user
///   {"instruction": "…", "input": "…", "chosen": "…", "rejected": "…"}    Alpaca
///   {"conversations": […], "chosen": {message}, "rejected": {message}}    ShareGPT
///   {"input": {"messages": […]}, "preferred_output": [messages],
///    "non_preferred_output": [messages]}                      OpenAI
/// with "system" where parse_dialogue() takes it. Throws Error, naming `place` (file:line), as
/// parse_dialogue(); for none of these forms; and when the dialogues differ before their last
/// message or that is not the assistant's. Other keys that are not read are added to `ignored`.
PreferenceRecord parse_preference(const std::string& record, const std::string& place,
                                  std::set<std::string>& ignored);

}  // namespace lacuna
