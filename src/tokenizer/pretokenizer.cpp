#include "tokenizer/pretokenizer.h"

#include <algorithm>
#include <string>

namespace lacuna {
namespace {

/// A match, or a part between two.
struct Piece {
  std::size_t begin, end;
  bool match;
};

// Hugging Face's NormalizedString::split, behaviour by behaviour.
std::vector<Piece> merge(const std::vector<Piece>& pieces, SplitBehavior behavior) {
  std::vector<Piece> words;
  bool previous_match = false;
  if (behavior == SplitBehavior::merged_with_next) {
    for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
      if (piece->match && !previous_match && !words.empty())
        words.back().begin = piece->begin;
      else
        words.push_back(*piece);
      previous_match = piece->match;
    }
    std::reverse(words.begin(), words.end());
    return words;
  }
  for (const Piece& piece : pieces) {
    const bool joins = behavior == SplitBehavior::contiguous ? piece.match == previous_match
                                                             : piece.match && !previous_match;
    if (joins && !words.empty())
      words.back().end = piece.end;
    else
      words.push_back(piece);
    previous_match = piece.match;
  }
  return words;
}

}  // namespace

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const char* const kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

void Pretokenizer::split(std::string_view text, SplitScratch& scratch, const Emit& emit) const {
  scratch.steps.resize(steps_.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t valid = valid_prefix(text.substr(at));
    if (valid > 0) apply(0, text.substr(at, valid), at + valid, scratch, emit);
    at += valid;
    for (; at < text.size() && utf8_length(text, at) == 0; ++at) emit(text.substr(at, 1), at + 1);
  }
}

void Pretokenizer::apply(std::size_t step, std::string_view text, std::size_t text_end,
                         SplitScratch& scratch, const Emit& emit) const {
  if (text.empty()) return;
  const bool last = step == steps_.size();
  if ((last ? prefix_space_ : steps_[step].prefix_space) && text[0] != ' ') {
    std::string prefixed(1, ' ');
    prefixed += text;
    last ? emit(prefixed, text_end) : cut(step, prefixed, text_end, scratch, emit);
    return;
  }
  last ? emit(text, text_end) : cut(step, text, text_end, scratch, emit);
}

void Pretokenizer::cut(std::size_t step, std::string_view text, std::size_t text_end,
                       SplitScratch& scratch, const Emit& emit) const {
  const SplitStep& s = steps_[step];
  RegexMatches matches(s.regex, text, scratch.steps[step]);
  std::size_t done = 0, begin = 0, end = 0;
  const auto word = [&](std::size_t from, std::size_t to) {
    apply(step + 1, text.substr(from, to - from), text_end - (text.size() - to), scratch, emit);
  };
  if (s.behavior == SplitBehavior::isolated) {  // the usual one, without a list of the pieces
    while (matches.next(begin, end)) {
      word(done, begin);
      word(begin, end);
      done = end;
    }
    word(done, text.size());
    return;
  }
  std::vector<Piece> pieces;
  while (matches.next(begin, end)) {
    if (begin > done) pieces.push_back({done, begin, s.invert});
    pieces.push_back({begin, end, !s.invert});
    done = end;
  }
  if (done < text.size()) pieces.push_back({done, text.size(), s.invert});
  if (s.behavior == SplitBehavior::removed) {
    for (const Piece& piece : pieces)
      if (!piece.match) word(piece.begin, piece.end);
    return;
  }
  for (const Piece& piece : merge(pieces, s.behavior)) word(piece.begin, piece.end);
}

}  // namespace lacuna
