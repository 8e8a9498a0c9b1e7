#include "tokenizer/cut.h"

#include <algorithm>

#include "tokenizer/unicode.h"

namespace lacuna {
namespace {

// Encoding may begin at any of these bytes before the cut. Where it begins does not matter a word
// later, so one of them stands for wherever it really began.
constexpr std::size_t kStarts = 64;
constexpr std::size_t kAround = 256;
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

bool same_when_cut(std::string_view text, std::size_t at, const EncodeText& encode) {
  const std::size_t end = character_start(text, std::min(text.size(), at + kAround));
  const auto right = encode(text.substr(at, end - at));
  const auto same_from = [&](std::size_t start) {
    auto cut = encode(text.substr(start, at - start));
    cut.insert(cut.end(), right.begin(), right.end());
    return encode(text.substr(start, end - start)) == cut;
  };
  if (!same_from(character_start(text, at > kAround ? at - kAround : 0))) return false;
  for (std::size_t start = at > kStarts ? at - kStarts : 0; start < at; ++start)
    if (begins_character(text, start) && !same_from(start)) return false;
  return true;
}

}  // namespace

std::size_t safe_cut(std::string_view text, std::size_t limit, const EncodeText& encode) {
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
      if (is_candidate(i) && (--tries, same_when_cut(text, i, encode))) return i;
    return std::size_t{0};
  };
  if (const std::size_t at = search(begins_line, kTries)) return at;
  if (const std::size_t at = search(begins_word, kTries)) return at;
  if (const std::size_t at = search(begins_any, kCharacterTries)) return at;
  return std::max<std::size_t>(1, character_start(text, limit));
}

}  // namespace lacuna
