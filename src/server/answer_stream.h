#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace lacuna {

/// Where an answer ends.
struct AnswerEnds {
  std::vector<std::int32_t> tokens;  // the first of these ends it, and is no part of it
  std::vector<std::string> stops;    // so does the first of these texts, none empty
  std::int64_t max_tokens = 0;
  // Of an answer of a given shape, which ends where it is full: the token that is no part of it.
  std::optional<std::int32_t> filler = {};
};

/// Makes the text of an answer of its tokens as they become final, from left to right. What add()
/// and finish() return, put together, is text(), valid UTF-8: the first bytes of a character or of
/// a stop text are held back until it is known what they become.
class AnswerStream {
 public:
  /// Borrows the tokenizer.
  AnswerStream(const Tokenizer& tokenizer, AnswerEnds ends);

  /// Takes the next tokens of the answer; returns the text that they make certain.
  std::string add(std::span<const std::int32_t> tokens);
  /// The first `settled` tokens of the answer are final: add() of those that were not taken.
  std::string settle(std::span<const std::int32_t> answer, std::int64_t settled);
  /// No token follows. Returns what was held back.
  std::string finish();

  /// Whether no further token can change the text.
  bool complete() const { return complete_; }
  /// "stop": by an end token or a stop text, else "length".
  const char* finish_reason() const { return stopped_ ? "stop" : "length"; }
  const std::string& text() const { return text_; }
  /// Tokens that were taken, whether or not they are part of the text.
  std::int64_t taken() const { return taken_; }
  /// Tokens of the answer, without its end token.
  std::int64_t tokens() const { return tokens_; }

 private:
  bool stop_at_text(std::size_t known);
  std::string release(std::size_t bytes);

  const Tokenizer& tokenizer_;
  AnswerEnds ends_;
  std::string pending_, text_;
  std::int64_t taken_ = 0, tokens_ = 0;
  bool complete_ = false, stopped_ = false;
};

/// How many bytes at the end of `text` are the beginning of `stop`, but not all of it.
std::size_t unfinished_stop(std::string_view text, std::string_view stop);

}  // namespace lacuna
