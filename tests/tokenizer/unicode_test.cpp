#include "tokenizer/unicode.h"

#include "tests/tokenizer/support.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/regex_class.h"

namespace lacuna {
namespace {

using testing::golden;

TEST(Utf8, KnowsWhatIsACharacter) {
  const auto length = [](std::string_view text) { return utf8_length(text, 0); };
  EXPECT_EQ(length("a"), 1);
  EXPECT_EQ(length("\xc2\x80"), 2);
  EXPECT_EQ(length("\xe0\xa0\x80"), 3);
  EXPECT_EQ(length("\xed\x9f\xbf"), 3);
  EXPECT_EQ(length("\xf4\x8f\xbf\xbf"), 4);
  for (const char* bad :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf",
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc2", "\xe2\x82",
        "\xf0\x9f\x98", "\xc2\x41", "\xe2\x82\x41"})
    EXPECT_EQ(length(bad), 0) << bad;
}

TEST(Utf8, EveryCharacterThereAndBack) {
  for (CodePoint c = 0; c <= kLastCodePoint; ++c) {
    if (c == 0xd800) c = 0xe000;
    std::string text;
    append_utf8(text, c);
    ASSERT_EQ(utf8_length(text, 0), int(text.size())) << c;
    ASSERT_EQ(utf8_length_of_lead(text[0]), int(text.size())) << c;
    ASSERT_EQ(decode_utf8(text.data(), int(text.size())), c);
  }
}

TEST(Utf8, ValidPrefixStopsAtTheFirstBadByte) {
  const std::string text = "twenty bytes of ASCII\xe2\x82\xac and more of it";
  EXPECT_EQ(valid_prefix(text), text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string broken = text;
    broken[i] = '\xff';
    const bool within_euro = i > 21 && i < 24;
    EXPECT_EQ(valid_prefix(broken), within_euro ? 21 : i);
  }
}

TEST(CodePointSet, IsASet) {
  const CodePointSet a({{10, 20}, {5, 11}, {30, 30}}), b(15, 30);
  EXPECT_EQ(a.ranges(), (std::vector<CodePointRange>{{5, 20}, {30, 30}}));
  EXPECT_EQ((a | b).ranges(), (std::vector<CodePointRange>{{5, 30}}));
  EXPECT_EQ((a & b).ranges(), (std::vector<CodePointRange>{{15, 20}, {30, 30}}));
  EXPECT_EQ((~a).ranges(), (std::vector<CodePointRange>{{0, 4}, {21, 29}, {31, kLastCodePoint}}));
  EXPECT_EQ(~~a, a);
  EXPECT_TRUE((a & ~a).empty());
  EXPECT_EQ((a | ~a).ranges(), (std::vector<CodePointRange>{{0, kLastCodePoint}}));
  EXPECT_TRUE(a.contains(5) && a.contains(20) && a.contains(30));
  EXPECT_FALSE(a.contains(4) || a.contains(21) || a.contains(31));
}

// How many characters each class has, and their sum, in the package's regular expressions.
TEST(UnicodeProperties, AreThoseOfThePackage) {
  for (const auto& [pattern, expected] : golden()["classes"].items()) {
    RegexInput in(pattern);
    const CodePointSet set = parse_escape(in).set;
    std::int64_t count = 0, sum = 0;
    for (const CodePointRange& r : set.ranges())
      for (CodePoint c = r.first; c <= r.last; ++c) {
        ++count;
        sum += c;
      }
    EXPECT_EQ(count, expected[0].get<std::int64_t>()) << pattern;
    EXPECT_EQ(sum, expected[1].get<std::int64_t>()) << pattern;
  }
}

TEST(UnicodeProperties, CategoriesPartitionTheCharacters) {
  CodePointSet all;
  for (const char* group : {"L", "M", "N", "P", "S", "Z", "C"}) {
    EXPECT_TRUE((all & *unicode_property(group)).empty()) << group;
    all = all | *unicode_property(group);
  }
  EXPECT_EQ(all, CodePointSet(0, kLastCodePoint));
  EXPECT_EQ(*unicode_property("uppercase letter"), *unicode_property("Lu"));
  EXPECT_EQ(unicode_property("Klingon"), nullptr);
}

TEST(Normalization, NfcAsThePackageHasIt) {
  for (const auto& c : golden()["nfc"]) {
    const auto expected = c[1].get<std::string>();
    EXPECT_EQ(to_nfc(c[0].get<std::string>()), expected) << c[0];
    EXPECT_EQ(to_nfc(expected), expected);
  }
}

TEST(Normalization, RunsOfMarksTakeLittleTime) {
  std::string text = "e";
  for (int i = 0; i < 200'000; ++i) append_utf8(text, i % 2 == 0 ? 0x301 : 0x323);
  const std::vector<CodePoint> composed = code_points(to_nfc(text));
  ASSERT_EQ(composed.size(), 200'000u);
  EXPECT_EQ(composed[0], 0x1eb9u);  // e with dot below; marks above wait behind those below
  EXPECT_EQ(composed[1], 0x323u);
  EXPECT_EQ(composed.back(), 0x301u);
}

TEST(ByteAlphabet, IsGpt2s) {
  std::string all;
  for (int b = 0; b < 256; ++b) all += char(b);
  const std::string token = to_byte_alphabet(all);
  EXPECT_EQ(from_byte_alphabet(token), all);
  EXPECT_EQ(to_byte_alphabet(" a\n\xff\xad"), "ĠaĊÿŃ");
  EXPECT_EQ(from_byte_alphabet("a b"), std::nullopt);
  EXPECT_EQ(from_byte_alphabet("漢"), std::nullopt);
}

}  // namespace
}  // namespace lacuna
