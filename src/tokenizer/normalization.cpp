#include <algorithm>
#include <array>
#include <iterator>
#include <unordered_map>

#include "tokenizer/unicode.h"

namespace lacuna {
namespace {

struct Decomposition {
  CodePoint character, first, second;  // second: 0 when there is but one
  bool composes;                       // first and second become character again
};
#include "tokenizer/normalization.inc"

// Hangul syllables are composed by arithmetic: The Unicode Standard, section 3.12.
constexpr CodePoint kSyllables = 0xac00, kLeads = 0x1100, kVowels = 0x1161, kTails = 0x11a7;
constexpr CodePoint kLeadCount = 19, kVowelCount = 21, kTailCount = 28;
constexpr CodePoint kSyllableCount = kLeadCount * kVowelCount * kTailCount;

void decompose(CodePoint c, std::vector<CodePoint>& out) {
  if (c - kSyllables < kSyllableCount) {
    const CodePoint s = c - kSyllables;
    out.push_back(kLeads + s / (kVowelCount * kTailCount));
    out.push_back(kVowels + s % (kVowelCount * kTailCount) / kTailCount);
    if (s % kTailCount != 0) out.push_back(kTails + s % kTailCount);
    return;
  }
  const auto* found =
      std::lower_bound(std::begin(kDecompositions), std::end(kDecompositions), c,
                       [](const Decomposition& d, CodePoint value) { return d.character < value; });
  if (found == std::end(kDecompositions) || found->character != c) {
    out.push_back(c);
    return;
  }
  decompose(found->first, out);  // only firsts decompose further
  if (found->second) out.push_back(found->second);
}

// What two characters compose to, or 0.
CodePoint compose(CodePoint a, CodePoint b) {
  if (a - kLeads < kLeadCount && b - kVowels < kVowelCount)
    return kSyllables + ((a - kLeads) * kVowelCount + (b - kVowels)) * kTailCount;
  if (a - kSyllables < kSyllableCount && (a - kSyllables) % kTailCount == 0 && b > kTails &&
      b < kTails + kTailCount)
    return a + (b - kTails);
  static const std::unordered_map<std::uint64_t, CodePoint> pairs = [] {
    std::unordered_map<std::uint64_t, CodePoint> map;
    for (const Decomposition& d : kDecompositions)
      if (d.composes) map[std::uint64_t{d.first} << 32 | d.second] = d.character;
    return map;
  }();
  const auto found = pairs.find(std::uint64_t{a} << 32 | b);
  return found == pairs.end() ? 0 : found->second;
}

// Marks after a starter in the order of their classes, as the canonical ordering algorithm has it.
void reorder(std::vector<CodePoint>& text) {
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i;
    while (end < text.size() && combining_class(text[end]) != 0) ++end;
    std::stable_sort(
        text.begin() + std::ptrdiff_t(i), text.begin() + std::ptrdiff_t(end),
        [](CodePoint a, CodePoint b) { return combining_class(a) < combining_class(b); });
    i = end + 1;
  }
}

// The Unicode Standard, section 3.11: each character joins the last starter unless another between
// them, of the same class or a starter, blocks it.
void recompose(std::vector<CodePoint>& text) {
  constexpr std::size_t none = std::size_t(-1);
  std::size_t starter = none, out = 0;
  int last_class = -1;  // of what was kept after the starter; -1: nothing was
  for (std::size_t i = 0; i < text.size(); ++i) {
    const CodePoint c = text[i];
    const int k = combining_class(c);
    if (starter != none && last_class < k) {
      if (const CodePoint composed = compose(text[starter], c)) {
        text[starter] = composed;
        continue;
      }
    }
    if (k == 0) {
      starter = out;
      last_class = -1;
    } else {
      last_class = k;
    }
    text[out++] = c;
  }
  text.resize(out);
}

}  // namespace

int combining_class(CodePoint c) {
  const auto* after =
      std::upper_bound(std::begin(kCombiningRuns), std::end(kCombiningRuns), c,
                       [](CodePoint value, std::uint32_t run) { return value < run / 256; });
  return int(*std::prev(after) % 256);
}

std::string to_nfc(std::string_view text) {
  // Below U+0300 nothing combines, and everything is its own normal form.
  bool simple = true;
  for (const char c : text) simple &= static_cast<unsigned char>(c) < 0xcc;
  if (simple) return std::string(text);
  std::vector<CodePoint> decomposed;
  decomposed.reserve(text.size());
  for (const CodePoint c : code_points(text)) decompose(c, decomposed);
  reorder(decomposed);
  recompose(decomposed);
  std::string result;
  result.reserve(text.size());
  for (const CodePoint c : decomposed) append_utf8(result, c);
  return result;
}

}  // namespace lacuna
