#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lacuna {

using CodePoint = std::uint32_t;
inline constexpr CodePoint kLastCodePoint = 0x10ffff;

/// Bytes of the UTF-8 character that begins at text[i], 1 to 4; 0 when the bytes there are none
/// (cut short, overlong, a surrogate, above U+10FFFF).
inline int utf8_length(std::string_view text, std::size_t i) {
  const auto byte = [&](std::size_t at) -> unsigned {
    return static_cast<unsigned char>(text[at]);
  };
  const unsigned lead = byte(i);
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const int length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (text.size() - i < std::size_t(length)) return 0;
  for (int k = 1; k < length; ++k)
    if ((byte(i + std::size_t(k)) & 0xc0) != 0x80) return 0;
  const unsigned second = byte(i + 1);
  if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
      (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f))
    return 0;
  return length;
}

/// The bytes of a character by its first one, of text that is valid UTF-8.
inline int utf8_length_of_lead(char lead) {
  const auto b = static_cast<unsigned char>(lead);
  return b < 0x80 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
}

/// The character of `length` bytes (as utf8_length says) at `p`.
inline CodePoint decode_utf8(const char* p, int length) {
  const auto byte = [p](int i) -> CodePoint { return static_cast<unsigned char>(p[i]); };
  switch (length) {
    case 1:
      return byte(0);
    case 2:
      return (byte(0) & 0x1f) << 6 | (byte(1) & 0x3f);
    case 3:
      return (byte(0) & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
    default:
      return (byte(0) & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 |
             (byte(3) & 0x3f);
  }
}

void append_utf8(std::string& out, CodePoint c);
/// The characters of `text`, which must be valid UTF-8.
std::vector<CodePoint> code_points(std::string_view text);
/// Bytes of the longest prefix that is valid UTF-8.
std::size_t valid_prefix(std::string_view text);
/// Whether text[i] may begin a character.
inline bool begins_character(std::string_view text, std::size_t i) {
  return (static_cast<unsigned char>(text[i]) & 0xc0) != 0x80;
}

/// First to last, both in it.
struct CodePointRange {
  CodePoint first, last;
  bool operator==(const CodePointRange&) const = default;
};

/// A set of Unicode characters, as sorted ranges that do not touch.
class CodePointSet {
 public:
  CodePointSet() = default;
  CodePointSet(CodePoint first, CodePoint last) : ranges_{{first, last}} {}
  /// Ranges in any order.
  explicit CodePointSet(std::vector<CodePointRange> ranges);

  const std::vector<CodePointRange>& ranges() const { return ranges_; }
  bool empty() const { return ranges_.empty(); }
  bool contains(CodePoint c) const;
  CodePointSet operator|(const CodePointSet& other) const;
  CodePointSet operator&(const CodePointSet& other) const;
  /// The characters that are not in it.
  CodePointSet operator~() const;
  bool operator==(const CodePointSet&) const = default;

 private:
  std::vector<CodePointRange> ranges_;
};

/// The characters of a Unicode general category ("L", "Lu", "Letter"…) or script ("Han"…) of
/// Unicode 16; nullptr for a name that is not known. Names are compared without case, spaces,
/// hyphens and underscores. The sets are made once and live on.
const CodePointSet* unicode_property(std::string_view name);
/// The names that unicode_property knows.
std::vector<std::string> unicode_property_names();

/// What \s matches: Unicode's White_Space.
const CodePointSet& white_space();
/// What \w matches for Oniguruma: letters, marks, digits, connecting punctuation, and some more.
const CodePointSet& word_characters();
/// Whether \w of Rust's regex crate, by which added tokens know words, matches `c`.
bool is_word_character(CodePoint c);
bool is_white_space(CodePoint c);

/// Canonical combining class.
int combining_class(CodePoint c);
/// `text`, valid UTF-8, in Unicode's normalization form C.
std::string to_nfc(std::string_view text);

}  // namespace lacuna
