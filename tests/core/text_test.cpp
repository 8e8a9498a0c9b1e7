#include "core/text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>

namespace lacuna {
namespace {

TEST(Text, Bytes) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(640), "640 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1024), "1.00 KiB");
  EXPECT_EQ(human_bytes(1536), "1.50 KiB");
  EXPECT_EQ(human_bytes(10 * 1024), "10.0 KiB");
  EXPECT_EQ(human_bytes((std::int64_t{3} << 30) / 2), "1.50 GiB");
  EXPECT_EQ(human_bytes(std::int64_t{5} << 40), "5.00 TiB");
  EXPECT_EQ(human_bytes(std::int64_t{1} << 62), "4096.0 PiB");
}

TEST(Text, Durations) {
  EXPECT_EQ(human_duration(0), "0.0s");
  EXPECT_EQ(human_duration(12.34), "12.3s");
  EXPECT_EQ(human_duration(59.94), "59.9s");
  EXPECT_EQ(human_duration(59.96), "1m00s");
  EXPECT_EQ(human_duration(200), "3m20s");
  EXPECT_EQ(human_duration(3599.4), "59m59s");
  EXPECT_EQ(human_duration(3599.6), "1h00m");
  EXPECT_EQ(human_duration(3720), "1h02m");
  EXPECT_EQ(human_duration(47 * 3600 + 59 * 60), "47h59m");
  EXPECT_EQ(human_duration(50 * 3600), "2d02h");
}

TEST(Text, Prefixes) {
  EXPECT_EQ(with_prefix(0, "s"), "0 s");
  EXPECT_EQ(with_prefix(3.366e-5, "s"), "33.7 \xc2\xb5s");
  EXPECT_EQ(with_prefix(0.0015, "s"), "1.50 ms");
  EXPECT_EQ(with_prefix(0.99949, "s"), "999 ms");
  EXPECT_EQ(with_prefix(0.9996, "s"), "1.00 s");
  EXPECT_EQ(with_prefix(999.6e-6, "s"), "1.00 ms");
  EXPECT_EQ(with_prefix(12.34, "s"), "12.3 s");
  EXPECT_EQ(with_prefix(1.81e11, "FLOP/s"), "181 GFLOP/s");
  EXPECT_EQ(with_prefix(400e12, "FLOP/s"), "400 TFLOP/s");
  EXPECT_EQ(with_prefix(999.7e9, "FLOP/s"), "1.00 TFLOP/s");
  EXPECT_EQ(with_prefix(-2.5e3, "B"), "-2.50 kB");
  EXPECT_EQ(human_time(2e-9), "2.00 ns");
  EXPECT_EQ(human_time(59.9), "59.9 s");
  EXPECT_EQ(human_time(59.96), "1m00s");
}

TEST(Text, Commas) {
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(1000), "1,000");
  EXPECT_EQ(with_commas(1234567), "1,234,567");
  EXPECT_EQ(with_commas(-1), "-1");
  EXPECT_EQ(with_commas(-999), "-999");
  EXPECT_EQ(with_commas(-1234), "-1,234");
  EXPECT_EQ(with_commas(-123456), "-123,456");
}

TEST(Text, CountsWithTheirNoun) {
  EXPECT_EQ(counted(0, "rank"), "0 ranks");
  EXPECT_EQ(counted(1, "rank"), "1 rank");
  EXPECT_EQ(counted(-1, "degree"), "-1 degree");
  EXPECT_EQ(counted(1234, "step"), "1,234 steps");
  EXPECT_EQ(counted(1, "pass", "passes"), "1 pass");
  EXPECT_EQ(counted(2, "pass", "passes"), "2 passes");
}

TEST(Text, Lists) {
  EXPECT_EQ(listed({}, "and"), "");
  EXPECT_EQ(listed({"a"}, "and"), "a");
  EXPECT_EQ(listed({"a", "b"}, "or"), "a or b");
  EXPECT_EQ(listed({"a", "b", "c"}, "and"), "a, b and c");
}

TEST(Text, NearestWord) {
  const std::vector<std::string> words = {"learning_rate", "batch_size", "steps", "seed"};
  EXPECT_EQ(nearest("learning_rat", words), "learning_rate");
  EXPECT_EQ(nearest("lerning_rate", words), "learning_rate");
  EXPECT_EQ(nearest("step", words), "steps");
  EXPECT_EQ(nearest("sede", words), "seed");
  EXPECT_EQ(nearest("batchsize", words), "batch_size");
  EXPECT_EQ(nearest("seed", words), "seed");
  EXPECT_EQ(nearest("dropout", words), "");
  EXPECT_EQ(nearest("x", words), "");
  EXPECT_EQ(nearest("", words), "");
  EXPECT_EQ(nearest("steps", {}), "");
}

TEST(Text, PrintableKeepsText) {
  for (const std::string text : {"", "plain\n\ttext", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
                                 "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf"})
    EXPECT_EQ(printable(text), text);
}

TEST(Text, PrintableReplacesWhatIsNoText) {
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(printable("a\xff"
                      "b"),
            "a" + r + "b");
  EXPECT_EQ(printable("\x80"), r);
  EXPECT_EQ(printable("\xe2\x82"), r + r);  // cut short
  EXPECT_EQ(printable("\xe2\x28\xa1"), r + "(" + r);
  EXPECT_EQ(printable("\xc0\xaf"), r + r);  // "/", longer than need be
  EXPECT_EQ(printable("\xe0\x80\xaf"), r + r + r);
  EXPECT_EQ(printable("\xed\xa0\x80"), r + r + r);  // a surrogate
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), r + r + r + r);
  EXPECT_EQ(printable("\xf5\x80"), r + r);
}

TEST(Text, PrintableControlCodesMoveNoCursor) {
  EXPECT_EQ(printable("\x1b[2J"), "\xe2\x90\x9b[2J");
  EXPECT_EQ(printable(std::string("\0\r\x7f", 3)), "\xe2\x90\x80\xe2\x90\x8d\xe2\x90\xa1");
  EXPECT_EQ(printable("\xc2\x9b"), "\xef\xbf\xbd");  // CSI in one
  EXPECT_EQ(printable("\xc2\x80\xc2\x9f"), "\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(printable("\xc2\xa0"), "\xc2\xa0");
}

TEST(Text, PrintableReordersNothing) {
  const std::string r = "\xef\xbf\xbd";
  // U+202E right-to-left override, U+2066 isolate, U+200F mark, U+061C Arabic letter mark.
  for (const char* control : {"\xe2\x80\xae", "\xe2\x81\xa6", "\xe2\x80\x8f", "\xd8\x9c"})
    EXPECT_EQ(printable(std::string("a") + control + "b"), "a" + r + "b");
  // U+200B and U+2070 lie beside them; Hebrew is text.
  for (const std::string text : {"\xe2\x80\x8b", "\xe2\x81\xb0", "\xd7\xa9"})
    EXPECT_EQ(printable(text), text);
}

TEST(Text, PrintableIsPrintable) {
  for (const char* text : {"\x1b[2J", "\xff", "\xe2\x80\xae", "a\tb\n"})
    EXPECT_EQ(printable(printable(text)), printable(text));
}

TEST(Text, APrintableLineIsOne) {
  EXPECT_EQ(printable_line("a\nlacuna: b\tc\x1b"), "a lacuna: b c\xe2\x90\x9b");
}

TEST(Text, ShownIsShort) {
  EXPECT_EQ(shown("a\nb"), "a b");
  EXPECT_EQ(shown(std::string(120, 'a')), std::string(120, 'a'));
  EXPECT_EQ(shown(std::string(121, 'a')), std::string(120, 'a') + "...");
  // Not cut within a character.
  EXPECT_EQ(shown(std::string(119, 'a') + "\xc3\xa9"), std::string(119, 'a') + "...");
}

TEST(Text, Trimmed) {
  EXPECT_EQ(trimmed(" \n a b\t"), "a b");
  EXPECT_EQ(trimmed(" \n"), "");
  EXPECT_EQ(trimmed("a"), "a");
  EXPECT_EQ(trimmed(""), "");
}

std::string utf8(unsigned c) {
  const auto tail = [c](int shift) { return char(0x80 | (c >> shift & 0x3f)); };
  if (c < 0x80) return {char(c)};
  if (c < 0x800) return {char(0xc0 | c >> 6), tail(0)};
  if (c < 0x10000) return {char(0xe0 | c >> 12), tail(6), tail(0)};
  return {char(0xf0 | c >> 18), tail(12), tail(6), tail(0)};
}

// [c for c in range(0x110000) if chr(c).isspace()] of CPython 3.11.
bool is_space_in_python(unsigned c) {
  constexpr unsigned others[] = {0x20, 0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000};
  return (c >= 0x9 && c <= 0xd) || (c >= 0x1c && c <= 0x1f) || (c >= 0x2000 && c <= 0x200a) ||
         std::find(std::begin(others), std::end(others), c) != std::end(others);
}

TEST(Text, TrimmedRemovesTheWhiteSpaceOfPython) {
  for (unsigned c = 0; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;  // surrogates are no characters
    const std::string s = utf8(c);
    EXPECT_EQ(trimmed(s + "x" + s), is_space_in_python(c) ? "x" : s + "x" + s) << std::hex << c;
  }
  const std::string blank = utf8(0x3000) + " " + utf8(0x85);
  EXPECT_EQ(trimmed(blank + utf8(0x7b54) + blank + utf8(0x6848) + blank),
            utf8(0x7b54) + blank + utf8(0x6848));
  EXPECT_EQ(trimmed(blank), "");
}

TEST(Text, WithoutTrailingSpaceLeavesTheFront) {
  EXPECT_EQ(without_trailing_space(" a b " + utf8(0x3000) + "\n"), " a b");
  EXPECT_EQ(without_trailing_space(" "), "");
}

TEST(Text, ValidUtf8ReplacesWhatIsNone) {
  const std::string replacement = utf8(0xfffd), text = "a\n\x1b" + utf8(0x7532) + utf8(0x1f600);
  EXPECT_EQ(valid_utf8(text), text);
  EXPECT_EQ(valid_utf8("\xffx\xc2"), replacement + "x" + replacement);
  EXPECT_EQ(valid_utf8("\xed\xa0\x80"), replacement + replacement + replacement);  // a surrogate
}

TEST(Text, UnfinishedUtf8IsTheBeginningOfACharacter) {
  for (const char32_t c : {0x7aU, 0xe9U, 0x7532U, 0x1f600U}) {
    const std::string character = utf8(c);
    for (std::size_t n = 0; n < character.size(); ++n)
      EXPECT_EQ(unfinished_utf8(std::string("a").append(character, 0, n)), n)
          << std::hex << unsigned(c);
    EXPECT_EQ(unfinished_utf8("a" + character), 0u) << std::hex << unsigned(c);
  }
  EXPECT_EQ(unfinished_utf8(""), 0u);
  EXPECT_EQ(unfinished_utf8("\xc3"), 1u);
  for (const char* none : {"\xff", "\xf8", "\x80\x80\x80\x80", "\xc3\xa9\xa9"})
    EXPECT_EQ(unfinished_utf8(none), 0u) << none;
}

TEST(Text, TrimmedKeepsBytesThatAreNoUtf8) {
  for (const std::string s : {"\x80", "\x85", "\xa0", "\xe3\x80", "\xff", "\xc2", "\xe0\x80\xa0"}) {
    EXPECT_EQ(trimmed(s), s);
    EXPECT_EQ(trimmed(" " + s + "\n"), s);
  }
  EXPECT_EQ(trimmed("\xe3\x80\x80\x80"), "\x80");
  EXPECT_EQ(trimmed("\xe3\xe3\x80\x80"), "\xe3");
}

}  // namespace
}  // namespace lacuna
