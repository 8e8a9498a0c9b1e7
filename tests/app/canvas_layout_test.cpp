#include "app/canvas_layout.h"

#include <gtest/gtest.h>

#include "tests/support/support.h"

namespace lacuna {
namespace {

using Pieces = std::vector<CanvasPiece>;

CanvasPiece text(const std::string& bytes) { return {bytes, PieceStyle::text}; }
CanvasPiece fresh(const std::string& bytes) { return {bytes, PieceStyle::fresh}; }
CanvasPiece prompt(const std::string& bytes) { return {bytes, PieceStyle::prompt}; }
const CanvasPiece kMasked{"", PieceStyle::masked};

std::vector<std::string> lines(const Pieces& pieces, std::int64_t width, bool colours = false) {
  std::vector<std::string> result;
  for (const CanvasLine& line : layout_canvas(pieces, width, colours)) result.push_back(line.text);
  return result;
}
std::string line(const Pieces& pieces, bool colours = false) {
  const std::vector<std::string> all = lines(pieces, 1000, colours);
  EXPECT_EQ(all.size(), 1u);
  return all[0];
}
using Lines = std::vector<std::string>;

TEST(CanvasLayout, TextMasksAndSpecialTokens) {
  EXPECT_EQ(line({prompt("In the"), text(" beginning"), kMasked, kMasked, fresh(" God")}),
            "In the beginning░░ God");
  EXPECT_EQ(line({text("a"), {"", PieceStyle::special}, {"", PieceStyle::end}}), "a·∎");
  EXPECT_EQ(line({}), "");
}

TEST(CanvasLayout, BreaksAtTheWidthAndAtNewlines) {
  EXPECT_EQ(lines({text("abcdefg")}, 3), (Lines{"abc", "def", "g"}));
  EXPECT_EQ(lines({text("abc"), text("def")}, 3), (Lines{"abc", "def"}));
  EXPECT_EQ(lines({text("ab\ncd\n\ne\n")}, 10), (Lines{"ab", "cd", "", "e"}));
  EXPECT_EQ(lines({text("abc\nd")}, 3), (Lines{"abc", "d"}));  // a full line, then a newline
  EXPECT_EQ(lines(Pieces(5, kMasked), 2), (Lines{"░░", "░░", "░"}));
  EXPECT_EQ(lines({text("abc")}, 1), (Lines{"ab", "c"}));  // no narrower than 2
}

TEST(CanvasLayout, WideCharactersTakeTwoColumns) {
  const auto wide = layout_canvas(Pieces{text("你好吗")}, 5, false);
  ASSERT_EQ(wide.size(), 2u);
  EXPECT_EQ(wide[0].text, "你好");  // the third would stand in columns 5 and 6
  EXPECT_EQ(wide[0].columns, 4);
  EXPECT_EQ(wide[1].text, "吗");
  EXPECT_EQ(wide[1].columns, 2);
}

TEST(CanvasLayout, CombiningCharactersTakeNone) {
  const std::string e = "e\u0301";
  const auto all = layout_canvas(Pieces{text("x" + e + e)}, 3, false);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].columns, 3);
  // With nothing to stand on: after a masked token, a newline, or at the start.
  EXPECT_EQ(line({kMasked, text("\u0301a")}), "░◌\u0301a");
  EXPECT_EQ(lines({text("a\n\u0301")}, 9), (Lines{"a", "◌\u0301"}));
}

TEST(CanvasLayout, TokensMayHoldPartsOfACharacter) {
  const std::string snowman = "\xe2\x98\x83";
  EXPECT_EQ(line({text("\xe2"), text("\x98"), text("\x83")}), snowman);
  EXPECT_EQ(line({text("\xe2"), fresh("\x98\x83!")}), snowman + "!");
  // Cut off by a mask, by the end, or by something else: one substitute for what is there.
  EXPECT_EQ(line({text("\xe2\x98"), kMasked, text("\x83")}), "\uFFFD░\uFFFD");
  EXPECT_EQ(line({text("a\xe2\x98")}), "a\uFFFD");
  EXPECT_EQ(line({text("\xf0\x9f\x98"), text("x")}), "\uFFFDx");
}

TEST(CanvasLayout, InvalidBytesBecomeSubstitutes) {
  EXPECT_EQ(line({text("\x80\xff\xc0\xaf")}), "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(line({text("\xed\xa0\x80")}), "\uFFFD\uFFFD\uFFFD");            // a surrogate
  EXPECT_EQ(line({text("\xe0\x80\x80")}), "\uFFFD\uFFFD\uFFFD");            // longer than needed
  EXPECT_EQ(line({text("\xf4\x90\x80\x80")}), "\uFFFD\uFFFD\uFFFD\uFFFD");  // above U+10FFFF
  EXPECT_EQ(line({text("\xf0\x9f\x98\x80")}), "😀");
}

// Whatever the tokens hold, nothing that a terminal would obey comes out.
TEST(CanvasLayout, ControlCodesAreDrawn) {
  EXPECT_EQ(line({text("a\x1b[2Jb\r\a")}), "a␛[2Jb␍␇");
  EXPECT_EQ(line({text("\x7f")}), "␡");
  EXPECT_EQ(line({text("\u009b31m")}), "\uFFFD31m");  // CSI as one character
  EXPECT_EQ(line({text("\u202eabc")}), "\uFFFDabc");  // would turn the line around
  EXPECT_EQ(line({text("a\tb")}), "a    b");
  for (const CanvasLine& l :
       layout_canvas(Pieces{text(std::string("\0\x01\x1b\x90", 4))}, 80, false))
    for (const char c : l.text) EXPECT_FALSE(c >= 0 && c < 0x20) << int(c);
}

TEST(CanvasLayout, FreshTokensAreHighlighted) {
  EXPECT_EQ(line({prompt("In"), text(" the"), fresh(" sun"), text("."), kMasked}, true),
            "\x1b[36mIn\x1b[0m the\x1b[30;42m sun\x1b[0m.\x1b[2m░\x1b[0m");
  // Of a character in two tokens, if either is fresh.
  EXPECT_EQ(line({text("\xc3"), fresh("\xa9")}, true), "\x1b[30;42mé\x1b[0m");
  // A fresh newline shows.
  EXPECT_EQ(lines({text("a"), fresh("\n"), text("b")}, 9, true),
            (Lines{"a\x1b[30;42m↵\x1b[0m", "b"}));
  const auto all = layout_canvas(Pieces{text("a\n"), fresh("b"), text("\n"), kMasked}, 9, false);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_FALSE(all[0].fresh || all[0].masked);
  EXPECT_TRUE(all[1].fresh);
  EXPECT_TRUE(all[2].masked);
}

TEST(CanvasLayout, StylesEndWithTheLine) {
  EXPECT_EQ(lines({fresh("abcd")}, 2, true),
            (Lines{"\x1b[30;42mab\x1b[0m", "\x1b[30;42mcd\x1b[0m"}));
}

TEST(CanvasLayout, NoEscapesWithoutColours) {
  for (const std::string& l : lines({prompt("a"), fresh("b\nc"), kMasked}, 9))
    EXPECT_EQ(l.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace lacuna
