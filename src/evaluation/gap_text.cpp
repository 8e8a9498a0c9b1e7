#include "evaluation/gap_text.h"

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

std::int64_t gap_length(std::string_view inside, std::int64_t longest, const std::string& name) {
  if (inside.empty()) return GapText::kUnknown;
  std::int64_t n = 0;
  const char* end = inside.data() + inside.size();
  const auto [at, error] = std::from_chars(inside.data() + 1, end, n);
  if (inside[0] != ':' || error != std::errc() || at != end || n < 1 || n > longest)
    fail_usage(str(name, ": a gap is {gap} or {gap:N}, N from 1 to ", longest, " tokens, not {gap",
                   inside, "}"));
  return n;
}

}  // namespace

GapText parse_gaps(const std::string& text, const Tokenizer& tokenizer, std::int64_t longest,
                   const std::string& name) {
  GapText result;
  std::size_t at = 0;
  for (;;) {
    const std::size_t open = text.find(kOpen, at);
    result.texts.push_back(tokenizer.encode(text.substr(at, open - at)));
    if (open == std::string::npos) break;
    const std::size_t inside = open + kOpen.size(), close = text.find('}', inside);
    if (close == std::string::npos) fail_usage(name + ": a gap has no closing }");
    result.gaps.push_back(
        gap_length(std::string_view(text).substr(inside, close - inside), longest, name));
    at = close + 1;
  }
  if (result.gaps.empty()) fail_usage(name + ": the text has no {gap}; {gap:8} is one of 8 tokens");
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

std::vector<DecodingRequest> length_trials(const GapText& text, std::int32_t mask) {
  const auto gap = std::find(text.gaps.begin(), text.gaps.end(), GapText::kUnknown);
  std::vector<DecodingRequest> trials;
  if (gap == text.gaps.end()) return trials;
  GapText tried = text;
  for (const std::int64_t n : kCandidates) {
    tried.gaps[std::size_t(gap - text.gaps.begin())] = n;
    DecodingOptions options;
    options.steps = 1;
    trials.push_back({.tokens = with_masks(tried, mask), .options = options, .infill = true});
  }
  return trials;
}

void choose_length(GapText& text, const std::vector<std::vector<float>>& probability) {
  const auto gap = std::find(text.gaps.begin(), text.gaps.end(), GapText::kUnknown);
  CHECK(gap != text.gaps.end(), "no gap is of unknown length");
  std::size_t first = text.texts.front().size();  // of the gap
  for (auto before = text.gaps.begin(); before != gap; ++before)
    first += std::size_t(*before) + text.texts[std::size_t(before - text.gaps.begin()) + 1].size();
  double best = -std::numeric_limits<double>::infinity();
  for (std::size_t c = 0; c < probability.size(); ++c) {
    double sum = 0;
    for (std::int64_t i = 0; i < kCandidates[c]; ++i)
      sum += std::log(double(probability[c][first + std::size_t(i)]));
    // More than rounding: of lengths that are equally likely, the shortest.
    if (const double mean = sum / double(kCandidates[c]); mean > best + 1e-6) {
      best = mean;
      *gap = kCandidates[c];
    }
  }
}

void choose_lengths(GapText& text, Decoder& decoder, std::int32_t mask) {
  for (;;) {
    const std::vector<DecodingRequest> trials = length_trials(text, mask);
    if (trials.empty()) return;
    std::vector<std::vector<float>> probability;
    for (DecodingResult& result : decode(decoder, trials))
      probability.push_back(std::move(result.probability));
    choose_length(text, probability);
  }
}

}  // namespace lacuna
