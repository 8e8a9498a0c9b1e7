#include "data/chat_template.h"

#include <algorithm>

#include "core/check.h"
#include "core/input_file.h"
#include "core/json.h"
#include "core/text.h"
#include "data/jsonl_object.h"

namespace lacuna {
namespace {

constexpr const char* kContent = "{content}";

/// Where the next {word} of `text` from `at` begins and ends; npos when there is none.
struct Field {
  std::size_t begin, end;
};
Field next_field(const std::string& text, std::size_t at) {
  for (std::size_t open = text.find('{', at); open != std::string::npos;
       open = text.find('{', open + 1)) {
    const std::size_t close = text.find_first_not_of(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", open + 1);
    if (close != std::string::npos && close > open + 1 && text[close] == '}')
      return {open, close + 1};
  }
  return {std::string::npos, std::string::npos};
}

void check_fields(const std::string& key, const std::string& text, bool message,
                  const std::string& file) {
  for (Field f = next_field(text, 0); f.begin != std::string::npos; f = next_field(text, f.end)) {
    const std::string name = text.substr(f.begin, f.end - f.begin);
    CHECK(message && (name == "{role}" || name == kContent), file, ": ", key, ": unknown field ",
          name, message ? "; a message has {role} and {content}" : "; only message has fields");
  }
  if (!message) return;
  const std::size_t content = text.find(kContent);
  CHECK(content != std::string::npos, file, ": ", key, ": has no {content}");
  CHECK(text.find(kContent, content + 1) == std::string::npos, file, ": ", key,
        ": has {content} twice");
}

/// The text of a template between its {fields}.
std::vector<std::string> texts_of(const std::string& part) {
  std::vector<std::string> texts;
  std::size_t at = 0;
  for (Field f = next_field(part, 0); f.begin != std::string::npos; f = next_field(part, f.end)) {
    texts.push_back(part.substr(at, f.begin - at));
    at = f.end;
  }
  texts.push_back(part.substr(at));
  return texts;
}

/// Whether an added token is punctuated as markers are. Tokenizers add words and runs of white
/// space too, which are the same text in a template as in a message.
bool reads_as_marker(const std::string& token) {
  return std::any_of(token.begin(), token.end(), [](char c) {
    const bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    return c > ' ' && c < 0x7f && !word && c != '_';
  });
}

/// The tokenizer, to which the markers of the template are special.
Tokenizer with_markers(const ChatTemplate& chat, const Tokenizer& tokenizer) {
  std::vector<std::int32_t> markers;
  for (const std::string* part : {&chat.begin, &chat.message, &chat.reply})
    for (const std::string& text : texts_of(*part))
      for (const std::int32_t id : tokenizer.encode(text))
        if (tokenizer.is_added(id) &&
            reads_as_marker(tokenizer.decode(std::span(&id, 1), /*skip_special=*/false)))
          markers.push_back(id);
  return tokenizer.with_special(markers);
}

}  // namespace

ChatTemplate parse_chat_template(const std::string& text, const std::string& file) {
  const nlohmann::json object = parse_jsonl_object(text, file);
  ChatTemplate chat;
  const std::vector<std::pair<std::string, std::string*>> known = {
      {"begin", &chat.begin}, {"message", &chat.message}, {"reply", &chat.reply}};
  for (const auto& item : object.items()) {
    const std::string& key = item.key();
    const auto found =
        std::find_if(known.begin(), known.end(), [&](const auto& k) { return k.first == key; });
    if (found == known.end()) {
      const std::string near = nearest(key, {"begin", "message", "reply"});
      fail(str(file, ": unknown key \"", key, "\"; ",
               near.empty() ? "keys are begin, message and reply" : "did you mean " + near + "?"));
    }
    CHECK(item.value().is_string(), file, ": ", key, " is not a string but ",
          item.value().type_name());
    *found->second = item.value().get<std::string>();
  }
  check_fields("begin", chat.begin, false, file);
  check_fields("message", chat.message, true, file);
  check_fields("reply", chat.reply, false, file);
  return chat;
}

ChatTemplate ChatTemplate::chatml() {
  return {.begin = "",
          .message = "<|im_start|>{role}\n{content}<|im_end|>\n",
          .reply = "<|im_start|>assistant\n",
          .system = "",
          .trims = false};
}

std::optional<ChatTemplate> recognised_template(const std::string& jinja) {
  const auto has = [&](const char* text) { return jinja.find(text) != std::string::npos; };
  if (has("<|im_start|>") && has("<|im_end|>")) {
    ChatTemplate chat = ChatTemplate::chatml();
    // In the quotes of a Jinja string, where the line's end is written \n.
    const std::string begin = "<|im_start|>system\\n", end = "<|im_end|>";
    for (std::size_t at = jinja.find(begin); at != std::string::npos;
         at = jinja.find(begin, at + 1)) {
      const std::size_t from = at + begin.size(), to = jinja.find(end, from);
      const std::string text = to == std::string::npos ? "" : jinja.substr(from, to - from);
      if (!text.empty() && text.find_first_of("'\"{}\\") == std::string::npos) chat.system = text;
    }
    return chat;
  }
  // Llama 3's own has these markers, too, but begins with the date.
  const bool llada = has("<|start_header_id|>") && has("<|end_header_id|>") && has("<|eot_id|>") &&
                     !has("date_string") && !has("<|begin_of_text|>");
  return llada ? std::optional(ChatTemplate{}) : std::nullopt;
}

ChatTemplate load_chat_template(const std::string& option, const std::string& jinja,
                                const std::string& model) {
  if (option == "llada") return {};
  if (option == "chatml") return ChatTemplate::chatml();
  if (!option.empty()) return parse_chat_template(read_named_file(option), option);
  if (jinja.empty()) return {};
  const std::optional<ChatTemplate> chat = recognised_template(jinja);
  CHECK(chat, model, ": its chat template is none that is known; give one with --chat-template: ",
        "llada, chatml, or a file (docs/formats.md)");
  return *chat;
}

ChatFormat::ChatFormat(const ChatTemplate& chat, const Tokenizer& tokenizer)
    : tokenizer_(with_markers(chat, tokenizer)), system_(chat.system), trims_(chat.trims) {
  const ChatTemplate llada;
  if (chat.message == llada.message || chat.reply == llada.reply)
    for (const char* token : {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}) {
      const auto id = tokenizer.id_of(token);
      CHECK(id && tokenizer.is_added(*id), "the tokenizer has no ", token,
            " among its added tokens, which LLaDA's chat template needs; give another template ",
            "with --chat-template");
    }
  if (chat.begin != llada.begin || tokenizer.id_of(llada.begin)) begin_ = pieces_of(chat.begin);
  message_ = pieces_of(chat.message);
  reply_ = pieces_of(chat.reply);
  const auto content = std::find_if(message_.begin(), message_.end(),
                                    [](const Piece& p) { return p.kind == Piece::content; });
  CHECK(content != message_.end(), "a chat template's message has no {content}");
  after_content_.assign(content + 1, message_.end());
  for (const Piece& piece : after_content_)
    if (piece.kind == Piece::marker && end_of_reply_ < 0) end_of_reply_ = piece.id;
}

void ChatFormat::append_text(const std::string& text, std::vector<Piece>& pieces) const {
  for (const std::int32_t id : tokenizer_.encode(text, Tokenizer::Special::as_token)) {
    if (tokenizer_.is_special(id)) {
      pieces.push_back({Piece::marker, "", id});
      continue;
    }
    if (pieces.empty() || pieces.back().kind != Piece::text)
      pieces.push_back({Piece::text, "", -1});
    pieces.back().value += tokenizer_.decode(std::span(&id, 1), /*skip_special=*/false);
  }
}

std::vector<ChatFormat::Piece> ChatFormat::pieces_of(const std::string& text) const {
  std::vector<Piece> pieces;
  std::size_t at = 0;
  for (Field f = next_field(text, 0); f.begin != std::string::npos; f = next_field(text, f.end)) {
    append_text(text.substr(at, f.begin - at), pieces);
    const bool content = text.compare(f.begin, f.end - f.begin, kContent) == 0;
    pieces.push_back({content ? Piece::content : Piece::role, "", -1});
    at = f.end;
  }
  append_text(text.substr(at), pieces);
  return pieces;
}

void ChatFormat::render(std::span<const Piece> pieces, const Message& message,
                        std::vector<std::int32_t>& ids) const {
  std::string run;  // of text between markers, tokenised as a whole
  const auto flush = [&] {
    const auto more = tokenizer_.encode(run, Tokenizer::Special::as_text);
    ids.insert(ids.end(), more.begin(), more.end());
    run.clear();
  };
  for (const Piece& piece : pieces) {
    switch (piece.kind) {
      case Piece::marker:
        flush();
        ids.push_back(piece.id);
        break;
      case Piece::text:
        run += piece.value;
        break;
      case Piece::role:
        run += message.role;
        break;
      case Piece::content:
        run += trims_ ? trimmed(message.content) : message.content;
        break;
    }
  }
  flush();
}

std::vector<std::int32_t> ChatFormat::prompt(std::span<const Message> messages) const {
  std::vector<std::int32_t> ids;
  render(begin_, {}, ids);
  if (!system_.empty() && (messages.empty() || messages.front().role != "system"))
    render(message_, {"system", system_}, ids);
  for (const Message& message : messages) render(message_, message, ids);
  render(reply_, {}, ids);
  return ids;
}

std::vector<std::int32_t> ChatFormat::reply(const std::string& content) const {
  std::vector<Piece> pieces = {{Piece::content, "", -1}};
  pieces.insert(pieces.end(), after_content_.begin(), after_content_.end());
  std::vector<std::int32_t> ids;
  render(pieces, {"assistant", content}, ids);
  if (tokenizer_.eos_token() >= 0) ids.push_back(std::int32_t(tokenizer_.eos_token()));
  return ids;
}

}  // namespace lacuna
