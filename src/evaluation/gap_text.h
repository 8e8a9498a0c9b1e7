#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "decoding/decoder.h"
#include "tokenizer/tokenizer.h"

namespace lacuna {

/// A text with gaps: "Once {gap:8} a {gap}." has one of 8 tokens and one of unknown length.
struct GapText {
  static constexpr std::int64_t kUnknown = -1;
  std::vector<std::vector<std::int32_t>> texts;  // one more than gaps
  std::vector<std::int64_t> gaps;                // tokens of each, or kUnknown
  bool has_unknown() const { return std::find(gaps.begin(), gaps.end(), kUnknown) != gaps.end(); }
};

/// Throws UsageError, beginning with `name`, for a gap that is not "{gap}" or "{gap:N}" with N from
/// 1 to `longest`, and for a text without any.
GapText parse_gaps(const std::string& text, const Tokenizer& tokenizer, std::int64_t longest,
                   const std::string& name);

/// The tokens with `mask` in the gaps.
std::vector<std::int32_t> with_masks(const GapText& text, std::int32_t mask);

/// Gives the gaps of unknown length, from left to right, the length among 1, 2, 4, … 32 whose
/// tokens the model predicts most confidently in one pass: the highest mean log probability
/// (CAL, arXiv:2602.00476). The others count as 8 tokens until then. All lengths are computed in
/// one pass of the decoder, as many as fit.
void choose_lengths(GapText& text, Decoder& decoder, std::int32_t mask);

/// The two parts of that. The texts that are tried for the first gap of unknown length, none where
/// all lengths are known; and the choice by the probability of each text's tokens.
std::vector<DecodingRequest> length_trials(const GapText& text, std::int32_t mask);
void choose_length(GapText& text, const std::vector<std::vector<float>>& probability);

/// Rows that the decoder of choose_lengths() needs: of the longest text.
std::int64_t most_tokens(const GapText& text);

}  // namespace lacuna
