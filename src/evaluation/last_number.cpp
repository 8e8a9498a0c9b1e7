#include "evaluation/last_number.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "core/text.h"
#include "tokenizer/unicode.h"

namespace lacuna {
namespace {

constexpr CodePoint kNoBreakSpace = 0xa0, kTimes = 0xd7, kMiddleDot = 0xb7, kDotOperator = 0x22c5,
                    kEllipsis = 0x2026;

/// The value of a decimal digit of any script; -1 for anything else.
int digit_value(CodePoint c) {
  if (c < 0x80) return c >= '0' && c <= '9' ? int(c - '0') : -1;
  // Unicode keeps the ten digits of a script in order, in ranges that begin with a zero.
  static const CodePointSet& digits = *unicode_property("Nd");
  for (const CodePointRange& range : digits.ranges())
    if (c >= range.first && c <= range.last) return int((c - range.first) % 10);
  return -1;
}

int superscript_value(CodePoint c) {
  if (c == 0xb9) return 1;
  if (c == 0xb2 || c == 0xb3) return int(c - 0xb0);
  return c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ? int(c - 0x2070) : -1;
}

bool is_letter(CodePoint c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool is_minus(CodePoint c) {
  return c == '-' || (c >= 0x2010 && c <= 0x2013) || c == 0x2212 || c == 0xfe63 || c == 0xff0d;
}

bool is_point(CodePoint c) { return c == '.' || c == 0xff0e || c == 0x066b; }

bool is_currency(CodePoint c) { return unicode_property("Sc")->contains(c); }

class NumberReader {
 public:
  explicit NumberReader(const std::string& text) : text_(code_points(valid_utf8(text))) {}

  std::optional<double> last() {
    std::optional<double> number;
    for (std::size_t at = 0; at < text_.size();) {
      if (!begins(at)) {
        ++at;
        continue;
      }
      const bool negative = has_minus(at);
      const double value = read(at);
      number = negative ? -value : value;
    }
    return number;
  }

 private:
  CodePoint at(std::size_t i) const { return i < text_.size() ? text_[i] : 0; }
  int digit(std::size_t i) const { return digit_value(at(i)); }
  bool starts(std::size_t i, std::string_view ascii) const {
    for (std::size_t k = 0; k < ascii.size(); ++k)
      if (at(i + k) != static_cast<unsigned char>(ascii[k])) return false;
    return true;
  }
  std::size_t digits_at(std::size_t i) const {
    std::size_t n = 0;
    while (digit(i + n) >= 0) ++n;
    return n;
  }

  bool begins(std::size_t i) const {
    if (digit(i) >= 0) return true;
    if (!is_point(at(i)) || digit(i + 1) < 0) return false;
    if (i == 0) return true;
    const CodePoint before = text_[i - 1];  // "No.5", "1.2.3" and "...5" hold no ".5"
    return !is_letter(before) && digit_value(before) < 0 && !is_point(before) &&
           before != kEllipsis;
  }

  /// Whether the number that begins at `begin` has a minus, perhaps with a currency sign between.
  bool has_minus(std::size_t begin) const {
    std::size_t i = begin;
    const bool spaced = i >= 2 && text_[i - 1] == ' ' && is_currency(text_[i - 2]);
    if (spaced) --i;
    if (i > 0 && is_currency(text_[i - 1])) {
      --i;
      if (i > 0 && text_[i - 1] == '\\') --i;
    }
    if (i == 0 || !is_minus(text_[i - 1])) return false;
    if (i == 1) return true;
    const CodePoint before = text_[i - 2];
    return digit_value(before) < 0 && !is_letter(before) && !is_minus(before) && before != ')' &&
           before != ']' && before != '%';
  }

  /// The number at `i`, which moves behind it.
  double read(std::size_t& i) {
    number_.clear();
    const std::size_t whole = take_digits(i);
    bool decimal_comma = false;
    if (whole >= 1 && whole <= 3 && number_[0] != '0')
      decimal_comma = take_groups(i) == Groups::by_points;
    const bool point = decimal_comma ? at(i) == ',' : is_point(at(i));
    if (point && digit(i + 1) >= 0) {
      number_ += '.';
      take_digits(++i);
    }
    take_exponent(i);
    return std::strtod(number_.c_str(), nullptr);
  }

  std::size_t take_digits(std::size_t& i) {
    const std::size_t n = digits_at(i);
    for (std::size_t k = 0; k < n; ++k) number_ += char('0' + digit(i++));
    return n;
  }

  /// What separates groups of digits at `i`: its characters, 0 for none.
  std::size_t separator(std::size_t i) const {
    for (const std::string_view latex : {"{,}", ",\\!", "\\,", "\\!", "\\;", "\\:", "\\ "})
      if (starts(i, latex)) return latex.size();
    constexpr CodePoint single[] = {',',    '\'',   '_',    kNoBreakSpace, 0x066c,
                                    0x2009, 0x2019, 0x202f, 0xff0c};
    return std::find(std::begin(single), std::end(single), at(i)) != std::end(single) ? 1 : 0;
  }

  enum class Groups : std::uint8_t { plain, by_points };
  Groups take_groups(std::size_t& i) {
    if (take_groups_by_points(i)) return Groups::by_points;
    const std::size_t length = separator(i);
    if (length == 0) return Groups::plain;
    const std::vector<CodePoint> mark(text_.begin() + std::ptrdiff_t(i),
                                      text_.begin() + std::ptrdiff_t(i + length));
    const auto marked = [&](std::size_t k) {
      return k + length <= text_.size() &&
             std::equal(mark.begin(), mark.end(), text_.begin() + std::ptrdiff_t(k));
    };
    // Groups of two, as in India, count only before one of three.
    for (std::size_t k = i; marked(k);) {
      const std::size_t n = digits_at(k + length);
      if (n != 3 && !(n == 2 && mark.front() == ',')) break;
      k += length + n;
      if (n == 3)
        while (i < k)
          if (take_digits(i) == 0) i += length;
    }
    return Groups::plain;
  }

  /// "1.234.567", or "1.234,56" with a comma for a point.
  bool take_groups_by_points(std::size_t& i) {
    std::size_t end = i, groups = 0;
    while (at(end) == '.' && digits_at(end + 1) == 3) {
      end += 4;
      ++groups;
    }
    const std::size_t decimals = at(end) == ',' ? digits_at(end + 1) : 0;
    const bool decimal_comma = decimals == 1 || decimals == 2;
    if (groups == 0 || (groups == 1 && !decimal_comma) || (at(end) == '.' && digit(end + 1) >= 0))
      return false;
    while (i < end)
      if (take_digits(i) == 0) ++i;
    return true;
  }

  void take_exponent(std::size_t& i) {
    if (at(i) == 'e' || at(i) == 'E') {
      std::size_t k = i + 1;
      const bool negative = is_minus(at(k));
      if (negative || at(k) == '+') ++k;
      const std::size_t n = digits_at(k);
      if (n == 0 || is_letter(at(k + n))) return;
      append_exponent(k, negative);
      i = k;
      return;
    }
    take_power_of_ten(i);
  }

  void skip_spaces(std::size_t& i) const {
    while (at(i) == ' ' || at(i) == kNoBreakSpace) ++i;
  }

  /// "× 10^3", with any sign of multiplication; superscript digits, or "**" for "^".
  void take_power_of_ten(std::size_t& i) {
    std::size_t k = i;
    skip_spaces(k);
    const CodePoint c = at(k);
    if (starts(k, "\\times"))
      k += 6;
    else if (starts(k, "\\cdot"))
      k += 5;
    else if (c == kTimes || c == kMiddleDot || c == kDotOperator || c == '*' || c == 'x')
      ++k;
    else
      return;
    skip_spaces(k);
    if (!starts(k, "10")) return;
    k += 2;
    if (take_superscript(k)) {
      i = k;
      return;
    }
    if (starts(k, "**"))
      k += 2;
    else if (at(k) == '^')
      ++k;
    else
      return;
    const bool braced = at(k) == '{' || at(k) == '(';
    if (braced) ++k;
    const bool negative = is_minus(at(k));
    if (negative || at(k) == '+') ++k;
    if (digit(k) < 0) return;
    append_exponent(k, negative);
    i = k + (braced && (at(k) == '}' || at(k) == ')'));
  }

  bool take_superscript(std::size_t& i) {
    const bool negative = at(i) == 0x207b;
    std::size_t k = i + negative;
    std::string exponent;
    for (; superscript_value(at(k)) >= 0; ++k) exponent += char('0' + superscript_value(at(k)));
    if (exponent.empty()) return false;
    number_ += (negative ? "e-" : "e") + exponent;
    i = k;
    return true;
  }

  void append_exponent(std::size_t& i, bool negative) {
    number_ += negative ? "e-" : "e";
    take_digits(i);
  }

  std::vector<CodePoint> text_;
  std::string number_;  // being read, as strtod takes it
};

}  // namespace

std::optional<double> last_number(const std::string& text) { return NumberReader(text).last(); }

}  // namespace lacuna
