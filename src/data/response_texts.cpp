#include "data/response_texts.h"

#include <algorithm>

#include "core/check.h"

namespace lacuna {

ResponseTexts::ResponseTexts(const TokenFile& file) : tokens_(std::size_t(file.tokens())) {
  CHECK(file.has_responses(), file.path(),
        ": says of no token that it is a response; make it with lacuna prepare --format chat");
  file.read(0, tokens_);
  std::vector<std::uint8_t> response(tokens_.size());
  file.read_responses(0, response);
  for (std::int64_t i = 0; i < file.documents(); ++i) {
    Span span{file.offset(i), 0, file.offset(i + 1)};
    const auto begin = response.begin() + span.begin, end = response.begin() + span.end;
    span.response = std::find(begin, end, 1) - response.begin();
    CHECK(
        span.response < span.end && std::find(begin + (span.response - span.begin), end, 0) == end,
        file.path(), ": document ", i, " is not a prompt followed by a response");
    spans_.push_back(span);
  }
}

PromptedText ResponseTexts::text(const Span& span) const {
  return {{tokens_.begin() + span.begin, tokens_.begin() + span.end}, span.prompt()};
}

bool ResponseTexts::fits(const Span& span, std::int64_t max_length) {
  return span.response_size() + (span.prompt() > 0) <= max_length;
}

ResponseTexts::Span ResponseTexts::cut(const Span& span, std::int64_t max_length) {
  return {std::max(span.begin, span.end - max_length), span.response, span.end};
}

}  // namespace lacuna
