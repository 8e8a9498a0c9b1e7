#pragma once
#include <cstdint>
#include <vector>

namespace lacuna {

/// Tokens of which the first `prompt` are given; the rest is the response.
struct PromptedText {
  std::vector<std::int32_t> tokens;
  std::int64_t prompt = 0;
  std::int64_t response() const { return std::int64_t(tokens.size()) - prompt; }
};

}  // namespace lacuna
