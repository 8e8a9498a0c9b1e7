#include "app/chat_session.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <span>

#include "app/live_decoding.h"
#include "app/standard_io.h"
#include "core/check.h"
#include "core/log.h"
#include "core/text.h"
#include "tokenizer/answer_text.h"

namespace lacuna {

ChatSession::ChatSession(const LoadedModel& model, const DecodingOptions& options,
                         const ChatTemplate& chat, bool show)
    : source_(model.source),
      options_(options),
      format_(chat, source_.need_tokenizer("a conversation needs one")) {
  const ModelConfig& config = model.config();
  if (options.gen_length >= config.max_seq_length)
    fail_usage(str("--gen-length is ", options.gen_length,
                   ", which leaves no room for a question: model.max_seq_length is ",
                   config.max_seq_length));
  decoder_ = std::make_unique<Decoder>(
      *model.ops, config, model.weights,
      limits_for(config, options, config.max_seq_length - options.gen_length));
  if (show) view_.emplace(stderr, *source_.tokenizer, config);
}

std::vector<std::int32_t> ChatSession::prompt() {
  const std::int64_t room = source_.config.max_seq_length - options_.gen_length;
  std::vector<std::int32_t> ids = format_.prompt(history_);
  std::size_t forgotten = 0;
  while (std::int64_t(ids.size()) > room) {
    CHECK(history_.size() >= 3, "the question has ", counted(std::int64_t(ids.size()), "token"),
          "; with replies of ", options_.gen_length, " there is room for ", room,
          " (model.max_seq_length is ", source_.config.max_seq_length, ")");
    history_.erase(history_.begin(), history_.begin() + 2);
    ++forgotten;
    ids = format_.prompt(history_);
  }
  if (forgotten > 0)
    log_info("forgotten, as they no longer fit: the oldest " +
             counted(std::int64_t(forgotten), "turn"));
  source_.check_ids(ids);
  return ids;
}

std::string ChatSession::ask(const std::string& text) {
  history_.push_back({"user", text});
  std::vector<std::int32_t> ids;
  try {
    ids = prompt();
  } catch (const Error&) {
    history_.pop_back();
    throw;
  }
  // Each reply has noise of its own: the same words need not get the same reply again.
  const auto canvas =
      decode_live(*decoder_, {.tokens = ids, .options = options_, .sample = replies_},
                  view_ ? &*view_ : nullptr, "", false)
          .tokens;
  ++replies_;
  history_.push_back(
      {"assistant", answer_text(format_.tokenizer(), std::span(canvas).subspan(ids.size()),
                                {source_.config.eos_token, format_.end_of_reply()})});
  return trimmed(history_.back().content);
}

void converse(ChatSession& session) {
  const bool terminal = isatty(STDIN_FILENO) != 0;
  StandardOutput out;
  if (terminal) log_info("a line is a message; /new begins a new conversation, /quit ends");
  for (std::string line;;) {
    if (terminal) std::fputs("> ", stderr);
    if (!std::getline(std::cin, line)) break;
    const std::string text = trimmed(line);
    if (text.empty()) continue;
    if (text == "/quit") break;
    if (text == "/new") {
      session.forget();
      continue;
    }
    try {
      out.write(session.ask(text) + "\n");
      out.flush();
    } catch (const Error& e) {
      if (!terminal) throw;
      log_warning(e.what());  // the conversation goes on
    }
  }
}

}  // namespace lacuna
