#include "tokenizer/regex.h"

#include <algorithm>
#include <limits>
#include <map>

#include "core/check.h"

namespace lacuna {
namespace {

constexpr std::size_t kBlock = 256, kBlocks = (kLastCodePoint + 1) / kBlock;

/// The characters, cut where any set begins or ends, as few symbols as tell the sets apart.
struct Symbols {
  std::vector<unsigned char> of;               // by character
  std::vector<std::vector<unsigned char>> in;  // by set, ascending
};

Symbols symbols_of(const std::vector<CodePointSet>& sets, const std::string& pattern) {
  std::vector<CodePoint> cuts{0, kLastCodePoint + 1};
  for (const CodePointSet& set : sets)
    for (const CodePointRange& r : set.ranges()) {
      cuts.push_back(r.first);
      cuts.push_back(r.last + 1);
    }
  std::sort(cuts.begin(), cuts.end());
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());

  Symbols symbols{std::vector<unsigned char>(kLastCodePoint + 1), {}};
  symbols.in.resize(sets.size());
  std::map<std::vector<bool>, unsigned char> by_membership;
  std::vector<std::size_t> range(sets.size());  // of each set, the first that may hold the cut
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    std::vector<bool> membership(sets.size());
    for (std::size_t k = 0; k < sets.size(); ++k) {
      const auto& ranges = sets[k].ranges();
      while (range[k] < ranges.size() && ranges[range[k]].last < cuts[i]) ++range[k];
      membership[k] = range[k] < ranges.size() && ranges[range[k]].first <= cuts[i];
    }
    const auto [entry, is_new] =
        by_membership.emplace(membership, static_cast<unsigned char>(by_membership.size() & 255));
    CHECK(by_membership.size() <= 256, "the pattern ", pattern, " tells more than 256 kinds of ",
          "characters apart");
    if (is_new)
      for (std::size_t k = 0; k < sets.size(); ++k)
        if (membership[k]) symbols.in[k].push_back(entry->second);
    std::fill(symbols.of.begin() + cuts[i], symbols.of.begin() + cuts[i + 1], entry->second);
  }
  return symbols;
}

std::string class_of(const std::vector<unsigned char>& symbols) {
  if (symbols.empty()) return "(?!)";  // the empty set
  constexpr const char* digits = "0123456789abcdef";
  std::string text;
  for (const unsigned char s : symbols) text += {'\\', 'x', digits[s >> 4], digits[s & 15]};
  return symbols.size() == 1 ? text : str("[", text, "]");
}

}  // namespace

Regex::Regex(const std::string& pattern) : Regex(pattern, parse_regex(pattern)) {}

Regex Regex::literal(const std::string& text) { return {text, literal_regex(text)}; }

Regex::Regex(std::string pattern, const ParsedRegex& parsed) : pattern_(std::move(pattern)) {
  const Symbols symbols = symbols_of(parsed.sets, pattern_);
  std::map<std::string, std::uint16_t> blocks;
  for (std::size_t b = 0; b < kBlocks; ++b) {
    const auto begin = symbols.of.begin() + std::ptrdiff_t(b * kBlock);
    const std::string block(begin, begin + kBlock);
    const auto [entry, is_new] = blocks.emplace(block, std::uint16_t(blocks.size()));
    if (is_new) symbol_of_.insert(symbol_of_.end(), block.begin(), block.end());
    block_of_.push_back(entry->second);
  }

  std::string text;
  for (const ParsedRegex::Part& part : parsed.parts)
    text += part.set < 0 ? part.syntax : class_of(symbols.in[std::size_t(part.set)]);
  try {
    code_.emplace(text, CompiledPattern::Units::bytes);
  } catch (const Error& e) {
    fail(str("the pattern ", pattern_, " cannot be used: ", e.what()));
  }
}

void Regex::transcribe(std::string_view text, std::vector<unsigned char>& symbols) const {
  symbols.resize(text.size());
  unsigned char* out = symbols.data();
  const unsigned char* const ascii = &symbol_of_[block_of_[0] * kBlock];
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) {
    if (const auto byte = static_cast<unsigned char>(*p); byte < 0x80) {
      *out++ = ascii[byte];
      ++p;
      continue;
    }
    const int length = utf8_length_of_lead(*p);
    const CodePoint c = decode_utf8(p, length);
    *out++ = symbol_of_[block_of_[c / kBlock] * kBlock + c % kBlock];
    p += length;
  }
  symbols.resize(std::size_t(out - symbols.data()));
}

RegexMatches::RegexMatches(const Regex& regex, std::string_view text, RegexScratch& scratch)
    : regex_(regex),
      text_(text),
      scratch_(scratch),
      last_end_(std::numeric_limits<std::size_t>::max()) {
  regex.transcribe(text, scratch.symbols);
}

bool RegexMatches::next(std::size_t& begin, std::size_t& end) {
  const std::vector<unsigned char>& symbols = scratch_.symbols;
  while (from_ <= symbols.size()) {
    const std::span<const std::size_t> found = search();
    if (found.empty()) return false;
    if (found[0] == found[1] && found[1] == last_end_) {
      ++from_;
      continue;
    }
    from_ = last_end_ = found[1];
    const std::size_t last = found[1];
    begin = bytes_up_to(found[0]);
    end = bytes_up_to(last);
    return true;
  }
  return false;
}

std::span<const std::size_t> RegexMatches::search() {
  const std::vector<unsigned char>& symbols = scratch_.symbols;
  try {
    return regex_.code_->search({reinterpret_cast<const char*>(symbols.data()), symbols.size()},
                                from_, scratch_.pattern);
  } catch (const Error& e) {
    fail(str("splitting a text by the pattern ", regex_.pattern(), ": ", e.what()));
  }
}

std::size_t RegexMatches::bytes_up_to(std::size_t symbol) {
  if (scratch_.symbols.size() == text_.size()) return symbol;  // all of it is ASCII
  for (; at_symbol_ < symbol; ++at_symbol_)
    at_byte_ += std::size_t(utf8_length_of_lead(text_[at_byte_]));
  return at_byte_;
}

}  // namespace lacuna
