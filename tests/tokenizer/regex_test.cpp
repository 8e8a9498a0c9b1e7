#include "tokenizer/regex.h"

#include "tests/tokenizer/support.h"
#include "tokenizer/pretokenizer.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;

std::vector<std::string> matches(const std::string& pattern, const std::string& text) {
  const Regex regex(pattern);
  RegexScratch scratch;
  RegexMatches search(regex, text, scratch);
  std::vector<std::string> found;
  for (std::size_t begin = 0, end = 0; search.next(begin, end);)
    found.push_back(text.substr(begin, end - begin));
  return found;
}
using List = std::vector<std::string>;

TEST(Regex, AlternativesInOrder) {
  EXPECT_EQ(matches("ab|abc|c", "abcc"), (List{"ab", "c", "c"}));
  EXPECT_EQ(matches("(ab|c)+?|x", "abcx"), (List{"ab", "c", "x"}));
  EXPECT_EQ(matches("(?<word>a)(?:b)(?#or not)c", "abc"), (List{"abc"}));
}

TEST(Regex, Classes) {
  EXPECT_EQ(matches("[a-cx]+", "abcxyz"), (List{"abcx"}));
  EXPECT_EQ(matches("[^a-c]+", "abxyzc"), (List{"xyz"}));
  EXPECT_EQ(matches("[]a-]+", "x]a-x"), (List{"]a-"}));
  EXPECT_EQ(matches("[a[c-e]]+", "abcde"), (List{"a", "cde"}));
  EXPECT_EQ(matches("[a-z&&[^aeiou]]+", "hello"), (List{"h", "ll"}));
  EXPECT_EQ(matches("[^\\S\\n]+", "a \t\nb"), (List{" \t"}));
  EXPECT_EQ(matches("[\\w-]+", "a-b c"), (List{"a-b", "c"}));
  EXPECT_EQ(matches("\\p{Lu}\\P{Lu}*", "AbC"), (List{"Ab", "C"}));
  EXPECT_EQ(matches("\\p{^L}", "a1"), (List{"1"}));
}

TEST(Regex, SpaceIsUnicodeWhiteSpace) {
  EXPECT_EQ(matches("\\s+", "a\u00a0\u3000\u2028b\u180ec\u200bd\x1f"),
            (List{"\u00a0\u3000\u2028"}));
}

TEST(Regex, Quantifiers) {
  EXPECT_EQ(matches("a{2}", "aaaaa"), (List{"aa", "aa"}));
  EXPECT_EQ(matches("a{2,}", "aaaaa"), (List{"aaaaa"}));
  EXPECT_EQ(matches("xa{,2}", "xaaa"), (List{"xaa"}));
  EXPECT_EQ(matches("a{1,2}?", "aa"), (List{"a", "a"}));
  EXPECT_EQ(matches("a++a", "aaa"), List{});
  EXPECT_EQ(matches("a*+b|a", "aab"), (List{"aab"}));
  EXPECT_EQ(matches("a{2}+", "aaaaa"), (List{"aaaa"})) << "repeated, not possessive";
  EXPECT_EQ(matches("a{x", "a{x"), (List{"a{x"}));
}

TEST(Regex, CaseIsIgnoredAsUnicodeFoldsIt) {
  EXPECT_EQ(matches("(?i:'s|k)+", "'S'\u017f\u212aK"), (List{"'S'\u017f\u212aK"}));
  EXPECT_EQ(matches("a(?i)b|c", "aC"), (List{"aC"})) << "the option holds for a(?:b|c)";
  EXPECT_EQ(matches("(?i:a(?-i:b))", "AbAB"), (List{"Ab"}));
}

TEST(Regex, LooksAround) {
  EXPECT_EQ(matches("\\s+(?!\\S)|\\s+", "a   b  "), (List{"  ", " ", "  "}));
  EXPECT_EQ(matches("(?<=a)b|(?<!a)c", "abcac"), (List{"b", "c"}));
  EXPECT_EQ(matches("\\b\\w", "hi there"), (List{"h", "t"}));
  EXPECT_EQ(matches("\\w\\B", "hi"), (List{"h"}));
}

TEST(Regex, EmptyMatches) {
  EXPECT_EQ(matches("(?=[A-Z])", "aBcD"), (List{"", ""}));
  EXPECT_EQ(matches("x*", "axb"), (List{"", "x", ""})) << "none right after the x";
}

TEST(Regex, PositionsInUtf8) {
  EXPECT_EQ(matches("\\p{Han}", "é漢😀字"), (List{"漢", "字"}));
  EXPECT_EQ(matches(".", "a\n😀"), (List{"a", "😀"}));
}

TEST(Regex, WhatIsMalformedOrLeftOutIsNamed) {
  const auto refusal = [](const std::string& pattern) {
    return error_of([&] { const Regex regex(pattern); });
  };
  const std::pair<const char*, const char*> cases[] = {
      {"a)", "a ) without its ("},
      {"(a", "a ( without its )"},
      {"(?:", "a ( without its )"},
      {"(?", "a group without its )"},
      {"(?<n", "a group's name without its >"},
      {"(?#", "a comment without its )"},
      {"(?~a)", "a group of this kind"},
      {"[a", "a [ without its ]"},
      {"[a-", "a [ without its ]"},
      {"[z-a]", "a range that runs backwards"},
      {"[a-\\d]", "a range that ends in a class"},
      {"[[:alpha:]]", "a POSIX bracket"},
      {"*a", "a * with nothing to repeat"},
      {"\\b+", "a quantifier after what has no length"},
      {"a{3,2}", "an interval that runs backwards"},
      {"a{99999}", "an interval above 65535"},
      {"a{2}?", "a lazy {n}"},
      {"^a", "the anchor ^"},
      {"a$", "the anchor $"},
      {"\\", "a \\ with nothing after it"},
      {"(a)\\1", "the escape \\1"},
      {"\\q", "the escape \\q"},
      {"\\xE9", "\\x of a byte above 7F"},
      {"\\x{110000}", "an escape of what is no character"},
      {"\\x{D800}", "an escape of what is no character"},
      {"\\x{}", "an escape without its digits"},
      {"\\p", "\\p without {"},
      {"\\p{L", "\\p{ without }"},
      {"\\p{Leter}", "the unknown property \"Leter\" (did you mean Letter?)"},
      {"(?i:é)", "case-insensitive matching of more than ASCII"},
      {"(?i:mass)", "case-insensitive \"ss\""},
      {"(?i:s+)", "a repeated case-insensitive \"s\""},
      {"(?<=a+)b", "cannot be used: lookbehind assertion is not fixed length"},
      {"\xff", "not valid UTF-8"},
  };
  for (const auto& [pattern, message] : cases)
    EXPECT_TRUE(contains(refusal(pattern), message)) << pattern;
  EXPECT_TRUE(contains(refusal(std::string(1000, '(')), "groups nested more than 100 deep"));
  EXPECT_TRUE(contains(refusal(std::string(1000, '[')), "classes nested more than 100 deep"));
}

// Backtracking that would never end stops with an Error.
TEST(Regex, HopelessSearchesEnd) {
  EXPECT_TRUE(contains(error_of([] { matches("(?:a+)+b|(?:a|a)+c", std::string(60, 'a')); }),
                       "match limit exceeded"));
}

std::vector<std::string> words(const Pretokenizer& pretokenizer, const std::string& text) {
  std::vector<std::string> found;
  SplitScratch scratch;
  pretokenizer.split(text, scratch,
                     [&](std::string_view word, std::size_t) { found.emplace_back(word); });
  return found;
}

TEST(Pretokenizer, WordsAddUpToTheTextWhateverItsBytes) {
  std::mt19937 random(1);
  for (const char* pattern : {kGpt2Pattern, kLlama3Pattern}) {
    const Pretokenizer pretokenizer({{Regex(pattern), SplitBehavior::isolated, false, false}});
    for (int i = 0; i < 300; ++i) {
      const std::string text = testing::random_bytes(random, random() % 50);
      std::string joined;
      for (const std::string& word : words(pretokenizer, text)) {
        EXPECT_FALSE(word.empty());
        // Valid UTF-8, or a byte.
        EXPECT_TRUE(valid_prefix(word) == word.size() || word.size() == 1);
        joined += word;
      }
      EXPECT_EQ(joined, text);
    }
  }
}

TEST(Pretokenizer, LongRunsTakeLittleTime) {
  for (const char* pattern : {kGpt2Pattern, kLlama3Pattern}) {
    const Pretokenizer pretokenizer({{Regex(pattern), SplitBehavior::isolated, false, false}});
    const std::string spaces(2'000'000, ' '), letters(2'000'000, 'a'), lines(2'000'000, '\n');
    EXPECT_EQ(words(pretokenizer, spaces), List{spaces});
    EXPECT_EQ(words(pretokenizer, spaces + "a"), (List{spaces.substr(1), " a"}));
    EXPECT_EQ(words(pretokenizer, letters), List{letters});
    EXPECT_EQ(words(pretokenizer, lines), List{lines});
  }
}

}  // namespace
}  // namespace lacuna
