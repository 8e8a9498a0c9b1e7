#include <algorithm>
#include <array>
#include <cctype>
#include <iterator>
#include <map>

#include "tokenizer/unicode.h"

namespace lacuna {
namespace {

#include "tokenizer/unicode_properties.inc"

struct Category {
  const char* name;
  const char* long_name;
};
// In the order of the numbers in kCategoryRuns.
constexpr Category kCategories[] = {
    {"Lu", "Uppercase_Letter"},    {"Ll", "Lowercase_Letter"},  {"Lt", "Titlecase_Letter"},
    {"Lm", "Modifier_Letter"},     {"Lo", "Other_Letter"},      {"Mn", "Nonspacing_Mark"},
    {"Mc", "Spacing_Mark"},        {"Me", "Enclosing_Mark"},    {"Nd", "Decimal_Number"},
    {"Nl", "Letter_Number"},       {"No", "Other_Number"},      {"Pc", "Connector_Punctuation"},
    {"Pd", "Dash_Punctuation"},    {"Ps", "Open_Punctuation"},  {"Pe", "Close_Punctuation"},
    {"Pi", "Initial_Punctuation"}, {"Pf", "Final_Punctuation"}, {"Po", "Other_Punctuation"},
    {"Sm", "Math_Symbol"},         {"Sc", "Currency_Symbol"},   {"Sk", "Modifier_Symbol"},
    {"So", "Other_Symbol"},        {"Zs", "Space_Separator"},   {"Zl", "Line_Separator"},
    {"Zp", "Paragraph_Separator"}, {"Cc", "Control"},           {"Cf", "Format"},
    {"Cs", "Surrogate"},           {"Co", "Private_Use"},       {"Cn", "Unassigned"},
};
constexpr Category kGroups[] = {{"L", "Letter"},      {"M", "Mark"},   {"N", "Number"},
                                {"P", "Punctuation"}, {"S", "Symbol"}, {"Z", "Separator"},
                                {"C", "Other"}};
struct Script {
  const char* name;
  const CodePointRange* begin;
  const CodePointRange* end;
};
#define SCRIPT(name) \
  { #name, std::begin(k##name), std::end(k##name) }
constexpr Script kScripts[] = {SCRIPT(Arabic), SCRIPT(Cyrillic), SCRIPT(Devanagari),
                               SCRIPT(Greek),  SCRIPT(Han),      SCRIPT(Hangul),
                               SCRIPT(Hebrew), SCRIPT(Hiragana), SCRIPT(Katakana),
                               SCRIPT(Latin),  SCRIPT(Thai)};
#undef SCRIPT

std::string plain(std::string_view name) {
  std::string result;
  for (const char c : name)
    if (c != ' ' && c != '-' && c != '_')
      result += char(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

struct Properties {
  std::map<std::string, CodePointSet> by_plain_name;
  std::vector<std::string> names;

  void add(const char* name, const CodePointSet& set) {
    names.emplace_back(name);
    by_plain_name[plain(name)] = set;
  }

  Properties() {
    std::array<std::vector<CodePointRange>, std::size(kCategories)> ranges;
    for (std::size_t i = 0; i < std::size(kCategoryRuns); ++i) {
      const bool last = i + 1 == std::size(kCategoryRuns);
      ranges[kCategoryRuns[i] % 32].push_back(
          {kCategoryRuns[i] / 32, last ? kLastCodePoint : kCategoryRuns[i + 1] / 32 - 1});
    }
    for (const Category& group : kGroups) {
      std::vector<CodePointRange> all;
      for (std::size_t k = 0; k < std::size(kCategories); ++k)
        if (kCategories[k].name[0] == group.name[0])
          all.insert(all.end(), ranges[k].begin(), ranges[k].end());
      add(group.name, CodePointSet(all));
      add(group.long_name, CodePointSet(all));
    }
    for (std::size_t k = 0; k < std::size(kCategories); ++k) {
      add(kCategories[k].name, CodePointSet(ranges[k]));
      add(kCategories[k].long_name, CodePointSet(ranges[k]));
    }
    for (const Script& script : kScripts)
      add(script.name, CodePointSet(std::vector<CodePointRange>(script.begin, script.end)));
  }
};
const Properties& properties() {
  static const Properties all;
  return all;
}

// Letters that are symbols by category: circled, parenthesised and squared Latin ones.
const CodePointSet& lettered_symbols() {
  static const CodePointSet set(
      {{0x24b6, 0x24e9}, {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189}});
  return set;
}
CodePointSet unicode_words() {
  CodePointSet set = lettered_symbols();
  for (const char* name : {"L", "M", "Nd", "Nl", "Pc"}) set = set | *unicode_property(name);
  return set;
}

}  // namespace

const CodePointSet* unicode_property(std::string_view name) {
  const auto& known = properties().by_plain_name;
  const auto found = known.find(plain(name));
  return found == known.end() ? nullptr : &found->second;
}

std::vector<std::string> unicode_property_names() { return properties().names; }

const CodePointSet& white_space() {
  static const CodePointSet set =
      CodePointSet({{'\t', '\r'}, {0x85, 0x85}}) | *unicode_property("Z");
  return set;
}

const CodePointSet& word_characters() {
  // Below U+0100 Oniguruma has a table of its own, to which superscripts and fractions are words.
  static const CodePointSet set =
      unicode_words() | CodePointSet({{0xb2, 0xb3}, {0xb9, 0xb9}, {0xbc, 0xbe}});
  return set;
}

bool is_word_character(CodePoint c) {
  static const CodePointSet set = unicode_words() | CodePointSet(0x200c, 0x200d);
  return set.contains(c);
}

bool is_white_space(CodePoint c) { return white_space().contains(c); }

}  // namespace lacuna
