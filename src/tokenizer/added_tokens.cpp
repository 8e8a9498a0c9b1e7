#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "tokenizer/unicode.h"

namespace lacuna {
namespace {

// The character that ends at text[end - 1], if its bytes are one.
bool character_before(std::string_view text, std::size_t end, CodePoint& c, int& length) {
  for (length = 1; length <= 4 && std::size_t(length) <= end; ++length) {
    const std::size_t at = end - std::size_t(length);
    if (!begins_character(text, at)) continue;
    if (utf8_length(text.substr(0, end), at) != length) return false;
    c = decode_utf8(text.data() + at, length);
    return true;
  }
  return false;
}
bool character_at(std::string_view text, std::size_t at, CodePoint& c, int& length) {
  length = at < text.size() ? utf8_length(text, at) : 0;
  if (length == 0) return false;
  c = decode_utf8(text.data() + at, length);
  return true;
}

bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) {
  CodePoint c = 0;
  int length = 0;
  if (character_before(text, begin, c, length) && is_word_character(c)) return false;
  return !(character_at(text, end, c, length) && is_word_character(c));
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(const std::vector<AddedToken>& tokens) : tokens_(tokens) {
  first_.fill(-1);
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    std::int32_t* link = nullptr;
    std::int32_t at = -1;
    for (const char byte : tokens_[t].content) {
      link = at < 0 ? &first_[static_cast<unsigned char>(byte)] : &nodes_[std::size_t(at)].child;
      while (*link >= 0 && nodes_[std::size_t(*link)].byte != byte)
        link = &nodes_[std::size_t(*link)].sibling;
      if (*link < 0) {
        *link = std::int32_t(nodes_.size());
        at = *link;
        nodes_.push_back({-1, -1, -1, byte});  // link is stale from here on
      } else {
        at = *link;
      }
    }
    if (at >= 0) nodes_[std::size_t(at)].token = std::int32_t(t);
  }
}

std::int32_t AddedTokenFinder::longest(std::string_view text, std::size_t at) const {
  std::int32_t best = -1;
  std::int32_t node = first_[static_cast<unsigned char>(text[at])];
  while (node >= 0) {
    const Node& here = nodes_[std::size_t(node)];
    if (here.token >= 0) best = here.token;
    if (++at == text.size()) break;
    node = here.child;
    while (node >= 0 && nodes_[std::size_t(node)].byte != text[at])
      node = nodes_[std::size_t(node)].sibling;
  }
  return best;
}

void AddedTokenFinder::find(std::string_view text, bool special_as_text,
                            std::vector<Section>& sections) const {
  std::size_t done = 0;  // where the section begins that is not yet given out
  for (std::size_t at = 0; !tokens_.empty() && at < text.size();) {
    const std::int32_t found =
        first_[static_cast<unsigned char>(text[at])] < 0 ? -1 : longest(text, at);
    if (found < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[std::size_t(found)];
    std::size_t begin = at, end = at + token.content.size();
    at = end;
    if (token.special && special_as_text) continue;
    if (token.single_word && !stands_alone(text, begin, end)) continue;
    CodePoint c = 0;
    int length = 0;
    if (token.lstrip)  // but no white space that the token before has taken
      while (begin > done && character_before(text, begin, c, length) && is_white_space(c))
        begin = std::max(done, begin - std::size_t(length));
    if (token.rstrip)
      while (character_at(text, end, c, length) && is_white_space(c)) end += std::size_t(length);
    if (done < begin) sections.push_back({text.substr(done, begin - done), -1});
    sections.push_back({text.substr(begin, end - begin), token.id});
    done = end;
  }
  if (done < text.size()) sections.push_back({text.substr(done), -1});
}

}  // namespace lacuna
