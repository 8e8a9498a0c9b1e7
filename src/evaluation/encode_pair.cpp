#include "evaluation/encode_pair.h"

#include "core/check.h"

namespace lacuna {

PromptedText encode_pair(const Tokenizer& tokenizer, std::string prompt, std::string response,
                         Tokenizer::Special special) {
  CHECK(!response.empty(), "an empty text cannot be scored");
  const std::size_t end = prompt.find_last_not_of(" \t\r\n");
  const std::size_t kept = end == std::string::npos ? 0 : end + 1;
  const std::vector<std::int32_t> before =
      tokenizer.encode(std::string_view(prompt).substr(0, kept), special);
  if (before.empty() || !tokenizer.is_special(before.back())) {
    response.insert(0, prompt, kept);
    prompt.resize(kept);
  }
  PromptedText text;
  text.tokens = tokenizer.encode(prompt + response, special);
  const std::vector<std::int32_t> given = tokenizer.encode(prompt, special);
  text.prompt = std::int64_t(given.size());
  if (text.tokens.size() <= given.size()) {
    text.tokens = given;
    const std::vector<std::int32_t> rest = tokenizer.encode(response, special);
    text.tokens.insert(text.tokens.end(), rest.begin(), rest.end());
  }
  return text;
}

}  // namespace lacuna
