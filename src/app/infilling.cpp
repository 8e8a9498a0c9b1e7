#include "app/infilling.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>

#include "core/check.h"
#include "decoding/generate.h"

namespace lacuna {
namespace {

constexpr std::string_view kOpen = "{gap";
constexpr std::int64_t kCandidates[] = {1, 2, 4, 8, 12, 16, 24, 32};
constexpr std::int64_t kGuess = 8;

std::int64_t gap_length(std::string_view inside, std::int64_t longest) {
  if (inside.empty()) return GapText::kUnknown;
  std::int64_t n = 0;
  const char* end = inside.data() + inside.size();
  const auto [at, error] = std::from_chars(inside.data() + 1, end, n);
  if (inside[0] != ':' || error != std::errc() || at != end || n < 1 || n > longest)
    fail_usage(str("--infill: a gap is {gap} or {gap:N}, N from 1 to ", longest,
                   " tokens, not {gap", inside, "}"));
  return n;
}

}  // namespace

GapText parse_gaps(const std::string& text, const Tokenizer& tokenizer, std::int64_t longest) {
  GapText result;
  std::size_t at = 0;
  for (;;) {
    const std::size_t open = text.find(kOpen, at);
    result.texts.push_back(tokenizer.encode(text.substr(at, open - at)));
    if (open == std::string::npos) break;
    const std::size_t inside = open + kOpen.size(), close = text.find('}', inside);
    if (close == std::string::npos) fail_usage("--infill: a gap has no closing }");
    result.gaps.push_back(
        gap_length(std::string_view(text).substr(inside, close - inside), longest));
    at = close + 1;
  }
  if (result.gaps.empty())
    fail_usage("--infill: the text has no {gap}; {gap:8} is one of 8 tokens");
  return result;
}

std::vector<std::int32_t> with_masks(const GapText& text, std::int32_t mask) {
  std::vector<std::int32_t> tokens = text.texts.front();
  for (std::size_t i = 0; i < text.gaps.size(); ++i) {
    const std::int64_t n = text.gaps[i] == GapText::kUnknown ? kGuess : text.gaps[i];
    tokens.insert(tokens.end(), std::size_t(n), mask);
    tokens.insert(tokens.end(), text.texts[i + 1].begin(), text.texts[i + 1].end());
  }
  return tokens;
}

std::int64_t most_tokens(const GapText& text) {
  std::int64_t n = 0;
  for (const auto& part : text.texts) n += std::int64_t(part.size());
  for (const std::int64_t gap : text.gaps)
    n += gap == GapText::kUnknown ? *std::prev(std::end(kCandidates)) : gap;
  return n;
}

void choose_lengths(GapText& text, Decoder& decoder, std::int32_t mask) {
  for (std::size_t g = 0; g < text.gaps.size(); ++g) {
    if (text.gaps[g] != GapText::kUnknown) continue;
    std::vector<DecodingRequest> requests;
    for (const std::int64_t n : kCandidates) {
      text.gaps[g] = n;
      DecodingOptions options;
      options.steps = 1;
      requests.push_back({.tokens = with_masks(text, mask), .options = options, .infill = true});
    }
    const std::vector<DecodingResult> results = decode(decoder, requests);
    std::size_t first = text.texts.front().size();  // of the gap
    for (std::size_t i = 0; i < g; ++i)
      first += std::size_t(text.gaps[i]) + text.texts[i + 1].size();
    double best = -std::numeric_limits<double>::infinity();
    for (std::size_t c = 0; c < results.size(); ++c) {
      double sum = 0;
      for (std::int64_t i = 0; i < kCandidates[c]; ++i)
        sum += std::log(double(results[c].probability[first + std::size_t(i)]));
      // More than rounding: of lengths that are equally likely, the shortest.
      if (const double mean = sum / double(kCandidates[c]); mean > best + 1e-6) {
        best = mean;
        text.gaps[g] = kCandidates[c];
      }
    }
  }
}

}  // namespace lacuna
