#include "core/text.h"

#include <algorithm>
#include <cmath>

namespace lacuna {
namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

/// The length of the UTF-8 character that `s` begins with; 0 when it begins with none.
std::size_t utf8_length(std::string_view s) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned first = byte(0);
  const std::size_t n = first < 0x80                    ? 1
                        : first >= 0xc2 && first < 0xe0 ? 2
                        : first >= 0xe0 && first < 0xf0 ? 3
                        : first >= 0xf0 && first < 0xf5 ? 4
                                                        : 0;
  if (n == 0 || n > s.size()) return 0;
  for (std::size_t i = 1; i < n; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  // Longer than need be, a surrogate, or beyond U+10FFFF.
  if (n > 2 && ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) >= 0xa0) ||
                (first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) >= 0x90)))
    return 0;
  return n;
}

/// The code point of one UTF-8 character.
char32_t code_point(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  const std::size_t n = character.size();
  char32_t c = n == 1 ? first : first & (0x7fU >> n);
  for (std::size_t i = 1; i < n; ++i)
    c = c << 6 | (static_cast<unsigned char>(character[i]) & 0x3fU);
  return c;
}

/// Whether one UTF-8 character is white space to Python's str.isspace(), which counts the four
/// separators U+001C to U+001F too. Unicode 15 gives the same set as every version since 6.3.
bool is_python_space(std::string_view character) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(character[i]); };
  if (character.size() == 1)
    return byte(0) == ' ' || (byte(0) >= '\t' && byte(0) <= '\r') ||
           (byte(0) >= 0x1c && byte(0) <= 0x1f);
  if (character.size() == 2) return character == "\xc2\x85" || character == "\xc2\xa0";
  if (character.size() != 3) return false;
  if (byte(0) == 0xe2 && byte(1) == 0x80)  // U+2000 to U+200A, U+2028, U+2029, U+202F
    return byte(2) <= 0x8a || byte(2) == 0xa8 || byte(2) == 0xa9 || byte(2) == 0xaf;
  return character == "\xe1\x9a\x80" || character == "\xe2\x81\x9f" || character == "\xe3\x80\x80";
}

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

std::string_view without_leading_space(std::string_view text) {
  while (!text.empty()) {
    const std::size_t n = utf8_length(text);
    if (!is_python_space(text.substr(0, n))) break;
    text.remove_prefix(n);
  }
  return text;
}

}  // namespace

std::string valid_utf8(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    const std::size_t n = utf8_length(bytes);
    text += n ? bytes.substr(0, n) : kReplacement;
    bytes.remove_prefix(n ? n : 1);
  }
  return text;
}

std::size_t unfinished_utf8(std::string_view bytes) {
  for (std::size_t n = 1; n <= 3 && n <= bytes.size(); ++n) {
    const auto byte = static_cast<unsigned char>(bytes[bytes.size() - n]);
    if ((byte & 0xc0) == 0x80) continue;  // not the first of one
    const std::size_t length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return byte < 0xf8 && length > n ? n : 0;
  }
  return 0;
}

bool is_bidirectional_control(char32_t c) {
  return (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0x200E ||
         c == 0x200F || c == 0x061C;
}

std::string printable(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    const std::size_t n = utf8_length(bytes);
    const char32_t c = n > 0 ? code_point(bytes.substr(0, n)) : 0x80;
    if ((c >= 0x80 && c < 0xa0) || is_bidirectional_control(c))
      text += kReplacement;
    else if (c == 0x7f)
      text += "\xe2\x90\xa1";
    else if (c < 0x20 && c != '\n' && c != '\t')
      text += {'\xe2', '\x90', char(0x80 + c)};
    else
      text += bytes.substr(0, n);
    bytes.remove_prefix(n ? n : 1);
  }
  return text;
}

std::string printable_line(std::string_view bytes) {
  std::string line = printable(bytes);
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\n' || c == '\t'; }, ' ');
  return line;
}

std::string shown(std::string_view text) {
  constexpr std::size_t most = 120;
  std::size_t end = std::min(text.size(), most);
  // Not within a character.
  while (end < text.size() && end > most - 4 &&
         (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
    --end;
  return printable_line(text.substr(0, end)) + (end < text.size() ? "..." : "");
}

std::string human_bytes(std::int64_t bytes) {
  constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return format("%lld B", static_cast<long long>(bytes));
  double value = double(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 5) {
    value /= 1024;
    ++unit;
  }
  return format("%.*f %s", value < 10 ? 2 : 1, value, units[unit]);
}

std::string human_duration(double seconds) {
  if (seconds < 59.95) return format("%.1fs", seconds);
  const auto total = std::llround(seconds);
  if (total < 3600) return format("%lldm%02llds", total / 60, total % 60);
  if (total < 48LL * 3600) return format("%lldh%02lldm", total / 3600, total % 3600 / 60);
  return format("%lldd%02lldh", total / 86400, total % 86400 / 3600);
}

std::string with_prefix(double value, std::string_view unit) {
  constexpr std::string_view prefixes[] = {"n", "\xc2\xb5", "m", "", "k", "M", "G", "T", "P"};
  int prefix = 3;
  for (; value != 0 && std::fabs(value) < 0.9995 && prefix > 0; --prefix) value *= 1000;
  for (; std::fabs(value) >= 999.5 && prefix < 8; ++prefix) value /= 1000;
  const int decimals = std::fabs(value) < 9.995 ? 2 : std::fabs(value) < 99.95 ? 1 : 0;
  return format("%.*f ", value == 0 ? 0 : decimals, value).append(prefixes[prefix]).append(unit);
}

std::string human_time(double seconds) {
  return seconds < 59.95 ? with_prefix(seconds, "s") : human_duration(seconds);
}

std::string with_commas(std::int64_t n) {
  std::string digits = std::to_string(n);
  for (int i = int(digits.size()) - 3; i > (n < 0 ? 1 : 0); i -= 3)
    digits.insert(std::size_t(i), 1, ',');
  return digits;
}

std::string counted(std::int64_t n, std::string_view one, std::string_view many) {
  std::string text = with_commas(n) + ' ';
  if (n == 1 || n == -1) return text.append(one);
  return many.empty() ? text.append(one) + 's' : text.append(many);
}

std::string listed(const std::vector<std::string>& words, std::string_view word) {
  std::string list;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0 && i + 1 == words.size())
      list.append(" ").append(word).append(" ");
    else if (i > 0)
      list += ", ";
    list += words[i];
  }
  return list;
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 2) + 1;
  for (const std::string& c : candidates) {
    const std::size_t d = edit_distance(word, c);
    if (d < best_distance) {
      best_distance = d;
      best = c;
    }
  }
  return best;
}

std::string_view without_trailing_space(std::string_view text) {
  while (!text.empty()) {
    std::size_t begin = text.size() - 1;  // where the last character begins
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) --begin;
    const std::string_view last = text.substr(begin);
    if (utf8_length(last) != last.size() || !is_python_space(last)) break;
    text = text.substr(0, begin);
  }
  return text;
}

std::string trimmed(std::string_view text) {
  return std::string(without_trailing_space(without_leading_space(text)));
}

}  // namespace lacuna
