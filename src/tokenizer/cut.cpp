#include "tokenizer/cut.h"

#include <algorithm>
#include <iterator>

#include "tokenizer/unicode.h"

namespace lacuna {
namespace {

// Encoding may begin at any of these bytes before the cut. Where it begins does not matter a word
// later, so one of them stands for wherever it really began.
constexpr std::size_t kStarts = 64;
constexpr std::size_t kAround = 256;
// So many ends of the text, a character apart, are tried: groups of digits that count from a
// number's end cannot end at the same places for two of them.
constexpr std::size_t kEnds = 3;
// How far back candidates are looked for, and how many are tried, of each kind.
constexpr std::size_t kReach = 65536, kTries = 8, kCharacterTries = 64;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_word(char c) { return is_letter(c) || (c >= '0' && c <= '9'); }

// `at`, or where the character begins that it lies within.
std::size_t character_start(std::string_view text, std::size_t at) {
  for (std::size_t back = 0; back < 4 && back <= at; ++back)
    if (at - back == text.size() || begins_character(text, at - back)) return at - back;
  return at;  // in what is not UTF-8
}

bool same_when_cut(std::string_view text, std::size_t begin, std::size_t at, std::size_t end,
                   const EncodeText& encode) {
  auto parts = encode(text.substr(begin, at - begin));
  const auto right = encode(text.substr(at, end - at));
  parts.insert(parts.end(), right.begin(), right.end());
  return encode(text.substr(begin, end - begin)) == parts;
}

bool same_wherever_it_begins(std::string_view text, std::size_t at, const EncodeText& encode) {
  const std::size_t far = character_start(text, at > kAround ? at - kAround : 0);
  std::size_t end = character_start(text, std::min(text.size(), at + kAround));
  if (!same_when_cut(text, far, at, end, encode)) return false;
  for (std::size_t start = at > kStarts ? at - kStarts : 0; start < at; ++start)
    if (begins_character(text, start) && !same_when_cut(text, start, at, end, encode)) return false;
  for (std::size_t i = 0; i < kEnds && end > at + 1; ++i) {
    end = character_start(text, end - 1);
    if (end > at && !same_when_cut(text, far, at, end, encode)) return false;
  }
  return true;
}

/// Ends of words that stay where they are when the text is a few characters shorter.
std::vector<std::size_t> lasting_ends(std::string_view text, std::size_t limit,
                                      const WordEnds& word_ends) {
  const auto up_to_limit = [&](std::string_view part) {
    std::vector<std::size_t> ends = word_ends(part);
    ends.erase(std::upper_bound(ends.begin(), ends.end(), limit), ends.end());
    return ends;
  };
  std::vector<std::size_t> ends = up_to_limit(text), both;
  std::size_t size = text.size();
  for (std::size_t i = 0; i < kEnds && !ends.empty(); ++i) {
    size = character_start(text, size - 1);
    if (size <= limit) break;
    const std::vector<std::size_t> others = up_to_limit(text.substr(0, size));
    both.clear();
    std::set_intersection(ends.begin(), ends.end(), others.begin(), others.end(),
                          std::back_inserter(both));
    ends.swap(both);
  }
  return ends;
}

std::size_t cut_after_word(std::string_view text, std::size_t limit, const EncodeText& encode,
                           const WordEnds& word_ends) {
  const std::vector<std::size_t> ends = lasting_ends(text, limit, word_ends);
  std::size_t tries = kTries;
  for (std::size_t i = ends.size(); i-- > 0 && ends[i] > 0 && tries > 0; --tries) {
    const std::size_t at = ends[i];
    const auto before = std::lower_bound(ends.begin(), ends.end(), at > kAround ? at - kAround : 0);
    const std::size_t begin = *before < at ? *before : 0;
    const std::size_t end = character_start(text, std::min(text.size(), at + kAround));
    if (same_when_cut(text, begin, at, end, encode)) return at;
  }
  return 0;
}

}  // namespace

std::size_t find_cut(std::string_view text, std::size_t limit, const EncodeText& encode,
                     const WordEnds& word_ends) {
  const auto begins_line = [&](std::size_t i) {
    return i < text.size() && text[i - 1] == '\n' && is_word(text[i]);
  };
  const auto begins_word = [&](std::size_t i) {
    return i + 1 < text.size() && is_letter(text[i - 1]) && text[i] == ' ' &&
           is_letter(text[i + 1]);
  };
  const auto begins_any = [&](std::size_t i) {
    return i < text.size() && begins_character(text, i);
  };
  const auto search = [&](const auto& is_candidate, std::size_t tries) {
    const std::size_t lowest = limit > kReach ? limit - kReach : 1;
    for (std::size_t i = limit; i >= lowest && tries > 0; --i)
      if (is_candidate(i) && (--tries, same_wherever_it_begins(text, i, encode))) return i;
    return std::size_t{0};
  };
  if (const std::size_t at = search(begins_line, kTries)) return at;
  if (const std::size_t at = search(begins_word, kTries)) return at;
  if (const std::size_t at = search(begins_any, kCharacterTries)) return at;
  return cut_after_word(text, limit, encode, word_ends);
}

std::size_t cut_anywhere(std::string_view text, std::size_t limit) {
  return std::max<std::size_t>(1, character_start(text, limit));
}

std::size_t piece_length(const std::function<std::string_view(std::size_t)>& ahead,
                         std::size_t wanted, const CutText& cut) {
  for (std::size_t limit = wanted;; limit = std::min(2 * limit, kLongestPiece)) {
    const std::string_view text = ahead(limit + kCutContext);
    if (text.size() <= limit) return text.size();
    if (const std::size_t at = cut(text, limit)) return at;
    if (limit >= kLongestPiece) return cut_anywhere(text, limit);
  }
}

}  // namespace lacuna
