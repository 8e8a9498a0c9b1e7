#include "server/answer_stream.h"

#include <algorithm>

#include "core/text.h"

namespace lacuna {

std::size_t unfinished_stop(std::string_view text, std::string_view stop) {
  for (std::size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n)
    if (text.ends_with(stop.substr(0, n))) return n;
  return 0;
}

AnswerStream::AnswerStream(const Tokenizer& tokenizer, AnswerEnds ends)
    : tokenizer_(tokenizer), ends_(std::move(ends)) {}

std::string AnswerStream::release(std::size_t bytes) {
  std::string out = valid_utf8(std::string_view(pending_).substr(0, bytes));
  pending_.erase(0, bytes);
  text_ += out;
  return out;
}

/// Cuts the text at the first stop text. The first `known` bytes hold none, and what is already
/// released holds no beginning of one.
bool AnswerStream::stop_at_text(std::size_t known) {
  std::size_t first = std::string::npos;
  for (const std::string& stop : ends_.stops)
    first = std::min(first, pending_.find(stop, known - std::min(known, stop.size() - 1)));
  if (first == std::string::npos) return false;
  pending_.resize(first);
  return true;
}

std::string AnswerStream::add(std::span<const std::int32_t> tokens) {
  for (const std::int32_t id : tokens) {
    if (complete_) break;
    ++taken_;
    if (std::find(ends_.tokens.begin(), ends_.tokens.end(), id) != ends_.tokens.end()) {
      stopped_ = complete_ = true;
      break;
    }
    const bool said = id != ends_.filler;
    tokens_ += said;
    const std::size_t known = pending_.size();
    if (said && tokenizer_.has(id)) pending_ += tokenizer_.decode({&id, 1});
    if (stop_at_text(known)) stopped_ = complete_ = true;
    if (taken_ >= ends_.max_tokens) {
      complete_ = true;
      stopped_ = stopped_ || ends_.filler.has_value();
    }
  }
  if (complete_) return release(pending_.size());
  std::size_t held = unfinished_utf8(pending_);
  for (const std::string& stop : ends_.stops)
    held = std::max(held, unfinished_stop(pending_, stop));
  return release(pending_.size() - held);
}

std::string AnswerStream::settle(std::span<const std::int32_t> answer, std::int64_t settled) {
  if (settled <= taken_) return "";
  return add(answer.subspan(std::size_t(taken_), std::size_t(settled - taken_)));
}

std::string AnswerStream::finish() {
  complete_ = true;
  return release(pending_.size());
}

}  // namespace lacuna
