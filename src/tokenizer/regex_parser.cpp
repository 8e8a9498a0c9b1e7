#include "tokenizer/regex_parser.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "core/check.h"
#include "core/text.h"
#include "tokenizer/regex_class.h"

namespace lacuna {
namespace {

using Parts = std::vector<ParsedRegex::Part>;

constexpr int kMaxDepth = 100;
constexpr int kMaxRepeats = 65535;  // PCRE2's

void append(Parts& to, Parts&& more) {
  to.insert(to.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}
Parts grouped(const char* opening, Parts&& inside, const char* closing = ")") {
  Parts parts{{opening, -1}};
  append(parts, std::move(inside));
  parts.push_back({closing, -1});
  return parts;
}

class Parser {
 public:
  explicit Parser(std::string_view pattern) : in_(pattern) {}

  ParsedRegex parse() {
    result_.parts = alternatives(RegexFlags{});
    if (!in_.at_end()) in_.refuse("a ) without its (");
    return std::move(result_);
  }

 private:
  struct Atom {
    Parts parts;
    bool repeatable = true;
    CodePoint letter = 0;  // of a case-insensitive pattern, else 0
  };

  int set_index(const CodePointSet& set) {
    auto& sets = result_.sets;
    const auto found = std::find(sets.begin(), sets.end(), set);
    if (found != sets.end()) return int(found - sets.begin());
    sets.push_back(set);
    return int(sets.size()) - 1;
  }
  Parts one_of(const CodePointSet& set) { return {{"", set_index(set)}}; }

  // Up to the end of the group.
  Parts alternatives(RegexFlags flags) {
    if (++depth_ > kMaxDepth) in_.refuse(str("groups nested more than ", kMaxDepth, " deep"));
    Parts parts;
    CodePoint previous = 0;  // the letter before, when case is ignored
    while (!in_.at_end() && in_.peek() != ')') {
      if (in_.take('|')) {
        parts.push_back({"|", -1});
        previous = 0;
        continue;
      }
      if (in_.take("(?#")) {
        while (!in_.take(')')) in_.next("a comment without its )");
        continue;
      }
      Atom atom = next_atom(flags);
      if (previous && atom.letter) check_letters(previous, atom.letter);
      const bool repeated = quantifiers(atom);
      previous = repeated ? 0 : atom.letter;
      append(parts, std::move(atom.parts));
    }
    --depth_;
    return parts;
  }

  // Unicode's case folding maps single characters to "ss", "st" and these others.
  void check_letters(CodePoint a, CodePoint b) const {
    const std::string pair = {char(a | 0x20), char(b | 0x20)};
    for (const char* folded : {"ss", "ff", "fi", "fl", "st"})
      if (pair == folded)
        in_.refuse(str("case-insensitive \"", pair, "\", which is one letter in some scripts"));
  }

  Atom next_atom(RegexFlags flags) {
    const CodePoint c = in_.peek();
    if (c == '(') return group(flags);
    if (c == '[') return {one_of(parse_class(in_, flags)), true, 0};
    if (c == '*' || c == '+' || c == '?') in_.refuse(str("a ", char(c), " with nothing to repeat"));
    if (c == '^' || c == '$') in_.refuse(str("the anchor ", char(c)));
    if (c == '\\') return escape(flags);
    in_.next("");
    if (c == '.') {
      const CodePointSet any(0, kLastCodePoint), line_end('\n', '\n');
      return {one_of(flags.dot_is_any ? any : ~line_end), true, 0};
    }
    return literal(c, flags);
  }

  Atom literal(CodePoint c, RegexFlags flags) {
    Atom atom{one_of(fold_case({c, c}, flags, in_)), true, 0};
    if (flags.ignore_case) atom.letter = c;
    return atom;
  }

  Atom escape(RegexFlags flags) {
    if (in_.take("\\b")) return {boundary(true), false, 0};
    if (in_.take("\\B")) return {boundary(false), false, 0};
    if (in_.take("\\R")) {
      const CodePointSet ends({{'\n', '\r'}, {0x85, 0x85}, {0x2028, 0x2029}});
      Parts parts = one_of({'\r', '\r'});
      append(parts, one_of({'\n', '\n'}));
      parts.push_back({"|", -1});
      append(parts, one_of(ends));
      return {grouped("(?>", std::move(parts)), true, 0};
    }
    if (in_.take("\\N")) return {one_of(~CodePointSet('\n', '\n')), true, 0};
    if (in_.take("\\O")) return {one_of({0, kLastCodePoint}), true, 0};
    const ClassItem item = parse_escape(in_);
    return item.character ? literal(*item.character, flags) : Atom{one_of(item.set), true, 0};
  }

  // A place where word characters end or begin; or (wanted = false) where they do not.
  Parts boundary(bool wanted) {
    const Parts word = one_of(word_characters());
    const auto look = [&](const char* opening) { return grouped(opening, Parts(word)); };
    Parts parts = look("(?<=");
    append(parts, look(wanted ? "(?!" : "(?="));
    parts.push_back({"|", -1});
    append(parts, look("(?<!"));
    append(parts, look(wanted ? "(?=" : "(?!"));
    return grouped("(?:", std::move(parts));
  }

  Atom group(RegexFlags flags) {
    for (const char* look : {"(?=", "(?!", "(?<=", "(?<!"})
      if (in_.take(look)) return {closed(look, alternatives(flags)), false, 0};
    if (in_.take("(?>")) return {closed("(?>", alternatives(flags)), true, 0};
    if (in_.take("(?<")) {
      while (!in_.take('>')) in_.next("a group's name without its >");
      return {closed("(?:", alternatives(flags)), true, 0};
    }
    if (in_.take("(?")) return options(flags);
    in_.take('(');
    return {closed("(?:", alternatives(flags)), true, 0};
  }

  // "i:…)", "-i)" and so on.
  Atom options(RegexFlags flags) {
    RegexFlags now = flags;
    bool on = true;
    for (;;) {
      const CodePoint c = in_.next("a group without its )");
      if (c == ':') return {closed("(?:", alternatives(now)), true, 0};
      // Alone, they hold for the rest of the group, its further alternatives among it.
      if (c == ')') return {grouped("(?:", alternatives(now)), false, 0};
      if (c == '-')
        on = false;
      else if (c == 'i')
        now.ignore_case = on;
      else if (c == 'm')
        now.dot_is_any = on;
      else
        in_.refuse("a group of this kind");
    }
  }

  Parts closed(const char* opening, Parts&& inside) {
    if (!in_.take(')')) in_.refuse("a ( without its )");
    return grouped(opening, std::move(inside));
  }

  // Whatever follows the atom to repeat it; false when nothing does.
  bool quantifiers(Atom& atom) {
    bool any = false;
    for (;; any = true) {
      std::string times;
      for (const char sign : {'*', '+', '?'})
        if (times.empty() && in_.take(sign)) times.push_back(sign);
      const bool interval = times.empty();
      if (interval && !take_interval(times)) return any;
      if (!atom.repeatable) in_.refuse("a quantifier after what has no length");
      if ((atom.letter | 0x20) == 's' && times != "?")
        in_.refuse("a repeated case-insensitive \"s\", two of which are one letter in German");
      if ((atom.letter | 0x20) == 'f' && times != "?")
        in_.refuse("a repeated case-insensitive \"f\", two of which are one letter in some fonts");
      // After an interval + repeats it, to Oniguruma; after the others it makes them possessive.
      if (in_.take('?')) {
        if (interval && times.find(',') == std::string::npos)
          in_.refuse("a lazy {n}, which Oniguruma reads otherwise than others do");
        times += '?';
      } else if (!interval && in_.take('+')) {
        times += '+';
      }
      if (any) atom.parts = grouped("(?:", std::move(atom.parts));
      atom.parts.push_back({times, -1});
    }
  }

  // "{2}", "{2,}", "{,2}" or "{1,2}"; a brace of any other kind stands for itself.
  bool take_interval(std::string& times) {
    const RegexInput before = in_;
    if (!in_.take('{')) return false;
    const std::optional<int> low = take_number();
    const bool comma = in_.take(',');
    const std::optional<int> high = comma ? take_number() : low;
    if (!in_.take('}') || (!low && !high)) {
      in_ = before;
      return false;
    }
    if (low && high && *low > *high) in_.refuse("an interval that runs backwards");
    times = str("{", low.value_or(0));
    if (comma) times += high ? str(",", *high) : ",";
    times.push_back('}');
    return true;
  }
  std::optional<int> take_number() {
    std::optional<int> number;
    while (!in_.at_end() && in_.peek() >= '0' && in_.peek() <= '9') {
      number = number.value_or(0) * 10 + int(in_.next("") - '0');
      if (*number > kMaxRepeats) in_.refuse(str("an interval above ", kMaxRepeats));
    }
    return number;
  }

  RegexInput in_;
  ParsedRegex result_;
  int depth_ = 0;
};

}  // namespace

ParsedRegex parse_regex(std::string_view pattern) {
  CHECK(valid_prefix(pattern) == pattern.size(), "the pattern is not valid UTF-8");
  return Parser(pattern).parse();
}

ParsedRegex literal_regex(std::string_view text) {
  ParsedRegex result;
  for (const CodePoint c : code_points(text)) {
    const auto known = std::find(result.sets.begin(), result.sets.end(), CodePointSet(c, c));
    const int index = int(known - result.sets.begin());
    if (known == result.sets.end()) result.sets.emplace_back(c, c);
    result.parts.push_back({"", index});
  }
  return result;
}

}  // namespace lacuna
