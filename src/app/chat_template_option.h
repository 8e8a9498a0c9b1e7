#pragma once

namespace lacuna {

/// What load_chat_template() takes, for --help.
inline constexpr const char* kChatTemplateHelp =
    "llada, chatml, or a JSON file of begin, message and reply [the model's own, else LLaDA's]";

}  // namespace lacuna
