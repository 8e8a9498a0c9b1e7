#include "tokenizer/regex_class.h"

#include "core/check.h"
#include "core/text.h"

namespace lacuna {
namespace {

constexpr int kMaxDepth = 100;

bool is_letter(CodePoint c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
int hex_value(CodePoint c) {
  if (c >= '0' && c <= '9') return int(c - '0');
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? int(c - 'a') + 10 : -1;
}

// Up to `digits` hexadecimal ones.
CodePoint hex_number(RegexInput& in, int digits) {
  CodePoint value = 0;
  int read = 0;
  for (; read < digits && !in.at_end() && hex_value(in.peek()) >= 0; ++read)
    value = value * 16 + CodePoint(hex_value(in.next("")));
  if (read == 0) in.refuse("an escape without its digits");
  if (value > kLastCodePoint || (value >= 0xd800 && value < 0xe000))
    in.refuse("an escape of what is no character");
  return value;
}

// To Oniguruma, "\\x" without braces is a byte.
CodePoint two_digits(RegexInput& in) {
  const CodePoint value = hex_number(in, 2);
  if (value >= 0x80) in.refuse("\\x of a byte above 7F; write \\x{…}");
  return value;
}

CodePointSet property(RegexInput& in, bool negated) {
  if (!in.take('{')) in.refuse("\\p without {");
  if (in.take('^')) negated = !negated;
  std::string name;
  for (CodePoint c; (c = in.next("\\p{ without }")) != '}';) append_utf8(name, c);
  const CodePointSet* set = unicode_property(name);
  if (!set) {
    const std::string near = nearest(name, unicode_property_names());
    in.refuse(str("the unknown property \"", name, "\"",
                  near.empty() ? "" : str(" (did you mean ", near, "?)")));
  }
  return negated ? ~*set : *set;
}

CodePointSet class_to_its_end(RegexInput& in, RegexFlags flags, int depth);

// One item of a class: an escape, a nested class, or a character.
ClassItem item(RegexInput& in, RegexFlags flags, int depth) {
  if (in.peek() == '\\') return parse_escape(in);
  if (in.take("[:")) in.refuse("a POSIX bracket; use \\p{…}");
  if (in.take('[')) return {{}, class_to_its_end(in, flags, depth + 1)};
  return {in.next(""), {}};
}

CodePointSet class_to_its_end(RegexInput& in, RegexFlags flags, int depth) {
  constexpr const char* unfinished = "a [ without its ]";
  if (depth > kMaxDepth) in.refuse(str("classes nested more than ", kMaxDepth, " deep"));
  const bool negated = in.take('^');
  std::optional<CodePointSet> so_far;  // what stands before the last &&
  CodePointSet set;
  const auto intersected = [&] { return so_far ? *so_far & set : set; };
  for (bool first = true;; first = false) {
    if (in.at_end()) in.refuse(unfinished);
    if (!first && in.take(']')) break;
    if (in.take("&&")) {
      so_far = intersected();
      set = {};
      continue;
    }
    const ClassItem low = item(in, flags, depth);
    if (!low.character) {
      set = set | fold_case(low.set, flags, in);
      continue;
    }
    CodePoint last = *low.character;
    const RegexInput before = in;
    if (in.take('-')) {  // of a range, unless it comes last
      if (in.at_end()) in.refuse(unfinished);
      if (in.peek() == ']') {
        in = before;
      } else {
        const ClassItem high = item(in, flags, depth);
        if (!high.character) in.refuse("a range that ends in a class");
        last = *high.character;
        if (last < *low.character) in.refuse("a range that runs backwards");
      }
    }
    set = set | fold_case({*low.character, last}, flags, in);
  }
  set = intersected();
  return negated ? ~set : set;
}

}  // namespace

CodePoint RegexInput::next(const char* unfinished) {
  if (at_end()) refuse(unfinished);
  const CodePoint c = peek();
  at_ += std::size_t(utf8_length_of_lead(pattern_[at_]));
  return c;
}

bool RegexInput::take(std::string_view text) {
  if (!pattern_.substr(at_).starts_with(text)) return false;
  at_ += text.size();
  return true;
}

void RegexInput::refuse(const std::string& what) const {
  fail(str("the pattern ", pattern_, " holds ", what, ", at byte ", at_));
}

ClassItem parse_escape(RegexInput& in) {
  in.take('\\');
  const CodePoint c = in.next("a \\ with nothing after it");
  const auto set_or_not = [&](const CodePointSet& set) {
    return ClassItem{{}, (c & 0x20) != 0 ? set : ~set};  // the capital is what is not in it
  };
  switch (c) {
    case 's':
    case 'S':
      return set_or_not(white_space());
    case 'w':
    case 'W':
      return set_or_not(word_characters());
    case 'd':
    case 'D':
      return set_or_not(*unicode_property("Nd"));
    case 'h':
    case 'H':
      return set_or_not(CodePointSet({{'0', '9'}, {'A', 'F'}, {'a', 'f'}}));
    case 'p':
    case 'P':
      return {{}, property(in, c == 'P')};
    case 't':
      return {'\t', {}};
    case 'n':
      return {'\n', {}};
    case 'v':
      return {'\v', {}};
    case 'f':
      return {'\f', {}};
    case 'r':
      return {'\r', {}};
    case 'a':
      return {'\a', {}};
    case 'e':
      return {0x1b, {}};
    case 'u':
      return {hex_number(in, 4), {}};
    case 'x':
      if (in.take('{')) {
        const CodePoint value = hex_number(in, 8);
        if (!in.take('}')) in.refuse("\\x{ without }");
        return {value, {}};
      }
      return {two_digits(in), {}};
    default:
      if (is_letter(c) || (c >= '0' && c <= '9'))
        in.refuse(str("the escape \\", char(c), ", which is not supported"));
      return {c, {}};
  }
}

CodePointSet fold_case(const CodePointSet& set, RegexFlags flags, const RegexInput& in) {
  if (!flags.ignore_case || set.empty()) return set;
  if (set.ranges().back().last >= 0x80)
    in.refuse("case-insensitive matching of more than ASCII, which is not supported");
  CodePointSet folded = set;
  for (CodePoint c = 'a'; c <= 'z'; ++c) {
    const CodePoint capital = c - 0x20;
    if (!set.contains(c) && !set.contains(capital)) continue;
    folded = folded | CodePointSet(c, c) | CodePointSet(capital, capital);
    if (c == 's') folded = folded | CodePointSet(0x17f, 0x17f);    // long s
    if (c == 'k') folded = folded | CodePointSet(0x212a, 0x212a);  // the Kelvin sign
  }
  return folded;
}

CodePointSet parse_class(RegexInput& in, RegexFlags flags) {
  in.take('[');
  return class_to_its_end(in, flags, 0);
}

}  // namespace lacuna
