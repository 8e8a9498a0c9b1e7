#include "tokenizer/compiled_pattern.h"

#include <optional>

#include "tests/support/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using Units = CompiledPattern::Units;

/// What group `group` of the first match is; nothing where there is no match.
std::optional<std::string> group_of(const std::string& pattern, const std::string& text,
                                    std::size_t group = 0, Units units = Units::utf8) {
  const CompiledPattern compiled(pattern, units);
  PatternScratch scratch;
  const auto found = compiled.search(text, 0, scratch);
  if (found.empty()) return std::nullopt;
  return text.substr(found[2 * group], found[2 * group + 1] - found[2 * group]);
}

TEST(CompiledPattern, Utf8MeansWhatPythonMeans) {
  EXPECT_EQ(group_of("b.d", "ab甲d"), "b甲d");
  EXPECT_EQ(group_of("b.d", "ab甲d", 0, Units::bytes), std::nullopt);
  EXPECT_EQ(group_of("[甲乙]+", "丙乙甲"), "乙甲");
  EXPECT_EQ(group_of("\\w+", "«Größe»"), "Größe");
  EXPECT_EQ(group_of("\\d+", "x٣٤"), "٣٤");
  EXPECT_EQ(group_of("a\\s+b", "a\u3000\u00a0b"), "a\u3000\u00a0b");
  EXPECT_EQ(group_of("\\bдa?", "да дa"), "д");
  EXPECT_EQ(group_of("\\u4e00\\xe9", "x一é"), "一é");
  EXPECT_EQ(group_of("a.b", "a\nb"), std::nullopt);
  EXPECT_EQ(group_of("a.b", "a\rb"), "a\rb");  // to Python only \n ends a line
  EXPECT_EQ(group_of("^b$", "a\nb\n"), std::nullopt);
  EXPECT_EQ(group_of("(?m)^b$", "a\nb\n"), "b");
  EXPECT_EQ(group_of("b$", "a\nb\n"), "b");  // before the line's end that ends the text
  EXPECT_EQ(group_of("(?P<x>a)(?P=x)", "baa"), "aa");
  EXPECT_EQ(group_of("(?<!x)(a|b)\\1", "xaa bb", 1), "b");
}

TEST(CompiledPattern, Groups) {
  EXPECT_EQ(CompiledPattern("(a)(?:b)(?<n>c)?", Units::utf8).groups(), 2u);
  const CompiledPattern pattern("(a)|(b)", Units::utf8);
  PatternScratch scratch;
  const auto found = pattern.search("xb", 0, scratch);
  ASSERT_EQ(found.size(), 6u);
  EXPECT_EQ(found[2], CompiledPattern::kUnset);
  EXPECT_EQ(found[4], 1u);
  EXPECT_EQ(found[5], 2u);
  // The scratch serves a pattern with more groups, and one with fewer, as well.
  EXPECT_EQ(CompiledPattern("(.)(.)(.)(.)", Units::utf8).search("abcd", 0, scratch).size(), 10u);
  EXPECT_EQ(CompiledPattern("b", Units::utf8).search("ab", 0, scratch).size(), 2u);
  EXPECT_TRUE(pattern.search("ab", 2, scratch).empty());
}

TEST(CompiledPattern, ALongTextTakesNoStack) {
  const std::string text = std::string(1'000'000, 'x') + "#### 18";
  for (const char* pattern : {"(?:.|\\n)*#### (-?\\d+)", "[\\s\\S]*#### (-?\\d+)",
                              "(?:(?:x|y)+)*#### (\\d+)", "(?:.|\\n)*?#### (\\d+)"})
    EXPECT_EQ(group_of(pattern, text, 1), "18") << pattern;
}

TEST(CompiledPattern, SearchesWithoutEndAreGivenUp) {
  const auto gives_up = [](const std::string& pattern, const std::string& text) {
    return !error_of<PatternLimitError>([&] { group_of(pattern, text); }).empty();
  };
  const std::string text = std::string(60, 'a') + "!";
  EXPECT_TRUE(gives_up("(a+)+$", text));
  EXPECT_TRUE(gives_up("(([\\s\\S])*)*\\x01!", text));
  EXPECT_TRUE(gives_up("(?:(a|b)(?R)?c?)+$", text));
  // The interpreter, which runs where no code can be made, has the same limits, and no pattern
  // raises them.
  EXPECT_TRUE(gives_up("(*NO_JIT)(a+)+$", text));
  EXPECT_TRUE(gives_up("(*LIMIT_MATCH=4000000000)(a+)+$", text));
}

TEST(CompiledPattern, WhatCannotBeCompiled) {
  const auto refusal = [](const std::string& pattern) {
    return error_of([&] { CompiledPattern(pattern, Units::utf8); });
  };
  EXPECT_TRUE(contains(refusal("a(b"), "missing closing parenthesis, at byte 3 of 3"));
  EXPECT_FALSE(refusal("\\C").empty());  // would cut characters
  EXPECT_FALSE(refusal("a\xff").empty());
  EXPECT_FALSE(refusal("a{9223372036854775808}{9223372036854775808}").empty());
  EXPECT_TRUE(contains(refusal(std::string(10'001, 'a')), "longer than the limit"));
  EXPECT_EQ(refusal(std::string(10'000, 'a')), "");
  EXPECT_TRUE(contains(refusal(std::string(3000, '(') + "a" + std::string(3000, ')')), "nested"));
  EXPECT_FALSE(error_of([] { group_of("a", "\xff"); }).empty());
}

}  // namespace
}  // namespace lacuna
