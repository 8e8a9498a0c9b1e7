#pragma once
#include <cstdint>
#include <vector>

#include "core/prompted_text.h"
#include "data/token_file.h"

namespace lacuna {

/// The documents of a token file with /response, in memory: each a prompt followed by a response.
class ResponseTexts {
 public:
  /// Reads all. Throws Error when the file has no /response, or a document of it is not a prompt
  /// followed by a response.
  explicit ResponseTexts(const TokenFile& file);

  struct Span {
    std::int64_t begin, response, end;  // in the tokens of the file
    std::int64_t size() const { return end - begin; }
    std::int64_t prompt() const { return response - begin; }
    std::int64_t response_size() const { return end - response; }
  };
  /// Of each document.
  const std::vector<Span>& spans() const { return spans_; }
  /// The tokens of a span that lies within a document.
  PromptedText text(const Span& span) const;

  /// Whether the response fits into `max_length` tokens, with a token of prompt if there is one.
  static bool fits(const Span& span, std::int64_t max_length);
  /// The span without the beginning of its prompt, where it is longer than that.
  static Span cut(const Span& span, std::int64_t max_length);

 private:
  std::vector<std::int32_t> tokens_;
  std::vector<Span> spans_;
};

}  // namespace lacuna
