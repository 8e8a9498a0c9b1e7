#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/dialogue.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {

/// How a dialogue is written for the model. {role} and {content} stand for a message's, its content
/// without white space around it; everything else is text, in which the tokenizer's added tokens
/// are tokens. The defaults are LLaDA's (chat_template of its tokenizer_config.json).
struct ChatTemplate {
  std::string begin = "<|startoftext|>";  // once, before the first message
  std::string message = "<|start_header_id|>{role}<|end_header_id|>\n\n{content}<|eot_id|>";
  std::string reply = "<|start_header_id|>assistant<|end_header_id|>\n\n";  // before a reply
  std::string system = "";  // content of the system's message where a dialogue begins with another
  bool trims = true;        // white space off the content

  /// ChatML, Qwen's, SDAR's and Dream's.
  static ChatTemplate chatml();
};

/// What a Jinja template that comes with a model is, by the markers in it: ChatML, with the
/// system's message that it assumes, or LLaDA's; none for any other.
std::optional<ChatTemplate> recognised_template(const std::string& jinja);

/// Reads {"begin": …, "message": …, "reply": …}, each optional. Throws Error, naming `file`, for an
/// unknown key (naming the nearest known one), an unknown {field}, or a message without {content}.
ChatTemplate parse_chat_template(const std::string& json, const std::string& file);
/// Of --chat-template: "llada", "chatml" or a file; if it names none, that of `jinja`, the template
/// that comes with `model`, or LLaDA's where none does. Error, naming `model` and the choices, for
/// a `jinja` that is not recognised.
ChatTemplate load_chat_template(const std::string& option, const std::string& jinja = "",
                                const std::string& model = "");

/// A template in tokens. Its markers are the special tokens in it, and the added tokens that no
/// message would write as words (with punctuation, as "<|eot_id|>"), flagged special or not.
/// Contents are ordinary text whatever they say: no message can forge a marker or special token.
/// Otherwise the ids are those that Hugging Face's apply_chat_template gives.
class ChatFormat {
 public:
  /// Throws Error naming the special tokens of LLaDA's template that the tokenizer lacks; a
  /// <|startoftext|> that it lacks is left out.
  ChatFormat(const ChatTemplate& chat, const Tokenizer& tokenizer);

  /// What the model is given: the messages so far and the beginning of a reply.
  std::vector<std::int32_t> prompt(std::span<const Message> messages) const;
  /// What it is to give: a reply, what closes it, and the tokenizer's end token, if it has one.
  std::vector<std::int32_t> reply(const std::string& content) const;
  /// The marker that closes a reply (<|eot_id|>), or -1.
  std::int32_t end_of_reply() const { return end_of_reply_; }
  /// The tokenizer, to which the markers are special.
  const Tokenizer& tokenizer() const { return tokenizer_; }

 private:
  struct Piece {
    enum Kind : std::uint8_t { text, marker, role, content } kind;
    std::string value;
    std::int32_t id = -1;
  };
  std::vector<Piece> pieces_of(const std::string& text) const;
  void append_text(const std::string& text, std::vector<Piece>& pieces) const;
  void render(std::span<const Piece> pieces, const Message& message,
              std::vector<std::int32_t>& ids) const;

  Tokenizer tokenizer_;
  std::vector<Piece> begin_, message_, reply_, after_content_;
  std::string system_;
  bool trims_;
  std::int32_t end_of_reply_ = -1;
};

}  // namespace lacuna
