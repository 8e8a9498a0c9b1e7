#pragma once
#include <array>
#include <set>
#include <string>

#include "data/chat_template.h"
#include "data/prepare.h"

namespace lacuna {

/// What the records are: dialogues, or pairs of replies of which one is preferred.
enum class ChatRecords : std::uint8_t { dialogues, preferences };

/// Why a turn of a dialogue gives no example, or a pair none.
enum class ChatSkip : std::uint8_t {
  roles_out_of_order,
  empty_response,
  not_trained_on,
  same_replies,  // of a pair
};
inline constexpr std::size_t kChatSkips = 4;

struct PrepareChatResult {
  PreparedPart train, validation;    // documents are examples; bytes those of replies
  std::int64_t dialogues = 0;        // read
  std::int64_t response_tokens = 0;  // of both parts
  std::int64_t longest = 0;          // tokens of the longest example
  std::array<std::int64_t, kChatSkips> skipped{};
  std::array<std::string, kChatSkips> first_skipped;  // file:line and reason of the first
  std::set<std::string> ignored_keys;                 // of the records; harmless ones
};

/// Tokenises dialogues (data/dialogue.h) for fine-tuning. A dialogue with n replies gives n
/// examples, each a document: the history in the chat template, then the reply, what closes it and
/// the end token, which are its response (/response 1). Validation takes whole dialogues, each with
/// probability options.validation_fraction, by its number (that of the record among all).
///
/// A dialogue whose roles are out of order, and a turn whose reply is empty or has the weight 0,
/// are skipped and counted. Throws Error, naming file and line, for what parse_dialogue refuses;
/// otherwise as prepare().
///
/// Of preference pairs (data/preference_record.h) a record gives two documents, which both hold the
/// history: with the chosen reply, then with the rejected one. A pair of equal replies is skipped.
PrepareChatResult prepare_chat(const PrepareOptions& options, const ChatTemplate& chat,
                               ChatRecords records = ChatRecords::dialogues);

}  // namespace lacuna
