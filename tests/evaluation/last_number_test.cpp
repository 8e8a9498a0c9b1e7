#include "evaluation/last_number.h"

#include <gtest/gtest.h>

namespace lacuna {
namespace {

TEST(LastNumber, OfAText) {
  EXPECT_EQ(last_number("3 apples and 1,234.5 pears."), 1234.5);
  EXPECT_EQ(last_number("$18"), 18);
  EXPECT_EQ(last_number("50%"), 50);
  EXPECT_EQ(last_number("50\\%"), 50);
  EXPECT_EQ(last_number("in 2024, it was 3, then"), 3);
  EXPECT_EQ(last_number("7 9"), 9);
  EXPECT_EQ(last_number("#### 18.00"), 18);
  EXPECT_EQ(last_number("so it is 18."), 18);
  EXPECT_EQ(last_number("(18.)"), 18);
  EXPECT_EQ(last_number("+5"), 5);
  EXPECT_FALSE(last_number("none at all"));
  EXPECT_FALSE(last_number(""));
  EXPECT_FALSE(last_number(".-,e"));
  EXPECT_EQ(last_number("5\xff"), 5);
}

TEST(LastNumber, NoDigitBeforeThePoint) {
  EXPECT_EQ(last_number("it is .5"), .5);
  EXPECT_EQ(last_number(".5"), .5);
  EXPECT_EQ(last_number("-.25"), -.25);
  EXPECT_EQ(last_number("$.75"), .75);
  EXPECT_EQ(last_number("(.5)"), .5);
  EXPECT_EQ(last_number("答案是.5"), .5);
  // Here the point belongs to what stands before it.
  EXPECT_EQ(last_number("No.5"), 5);
  EXPECT_EQ(last_number("version 1.2.3"), 3);
  EXPECT_EQ(last_number("so...5"), 5);
}

TEST(LastNumber, Signs) {
  EXPECT_EQ(last_number("so x = -7."), -7);
  EXPECT_EQ(last_number("x=-7"), -7);
  EXPECT_EQ(last_number("\u22125"), -5);     // minus sign
  EXPECT_EQ(last_number("is \u20135"), -5);  // en dash
  EXPECT_EQ(last_number("\uff0d5"), -5);     // full width
  EXPECT_EQ(last_number("答案是-5"), -5);
  EXPECT_EQ(last_number("-$5"), -5);
  EXPECT_EQ(last_number("-\\$5"), -5);
  EXPECT_EQ(last_number("\u2212€1,000"), -1000);
  EXPECT_EQ(last_number("-$ 5"), -5);
  EXPECT_EQ(last_number("$-5"), -5);
  EXPECT_EQ(last_number("-$.75"), -.75);
  EXPECT_EQ(last_number("$-5$"), -5);
  // Where it joins two things it is none.
  EXPECT_EQ(last_number("pages 10-20"), 20);
  EXPECT_EQ(last_number("10\u201320"), 20);
  EXPECT_EQ(last_number("$10-$5"), 5);
  EXPECT_EQ(last_number("5%-10%"), 10);
  EXPECT_EQ(last_number("(x)-5"), 5);
  EXPECT_EQ(last_number("COVID-19"), 19);
  EXPECT_EQ(last_number("the answer--5"), 5);
  EXPECT_EQ(last_number("- 5 apples"), 5);  // of a list
}

TEST(LastNumber, GroupsOfDigits) {
  EXPECT_EQ(last_number("1,234,567.89"), 1234567.89);
  EXPECT_EQ(last_number("12,34,567"), 1234567);  // as in India
  EXPECT_EQ(last_number("1'234'567"), 1234567);
  EXPECT_EQ(last_number("1\u2019234"), 1234);
  EXPECT_EQ(last_number("1\u202f234\u202f567"), 1234567);
  EXPECT_EQ(last_number("1\u00a0234"), 1234);
  EXPECT_EQ(last_number("1_000"), 1000);
  EXPECT_EQ(last_number("1.234.567"), 1234567);
  EXPECT_EQ(last_number("1.234,56"), 1234.56);
  EXPECT_EQ(last_number("1.234.567,5"), 1234567.5);
  EXPECT_EQ(last_number("7{,}250"), 7250);
  EXPECT_EQ(last_number("$10{,}000{,}000.5$"), 10000000.5);
  EXPECT_EQ(last_number("10,\\!000"), 10000);
  EXPECT_EQ(last_number("10\\,000"), 10000);
  EXPECT_EQ(last_number("10\\!000"), 10000);
  // Not groups of three.
  EXPECT_EQ(last_number("(3,4)"), 4);
  EXPECT_EQ(last_number("1,2,3"), 3);
  EXPECT_EQ(last_number("2024,123"), 123);
  EXPECT_EQ(last_number("1,2345"), 2345);
  EXPECT_EQ(last_number("1.234"), 1.234);
  EXPECT_EQ(last_number("1 234"), 234);
  EXPECT_EQ(last_number("1,234, 5"), 5);
}

TEST(LastNumber, Exponents) {
  EXPECT_EQ(last_number("3e5"), 3e5);
  EXPECT_EQ(last_number("1.5E-3"), 1.5e-3);
  EXPECT_EQ(last_number("1e+21"), 1e21);
  EXPECT_EQ(last_number("-2.5e\u22123"), -2.5e-3);
  EXPECT_EQ(last_number("1.5 \u00d7 10^3"), 1500);
  EXPECT_EQ(last_number("1.5 \\times 10^{-3}"), 1.5e-3);
  EXPECT_EQ(last_number("6.02\\cdot10^{23} atoms"), 6.02e23);
  EXPECT_EQ(last_number("1.5 x 10\u00b3"), 1500);
  EXPECT_EQ(last_number("1.5\u00b710\u207b\u2074"), 1.5e-4);
  EXPECT_EQ(last_number("2 * 10**3"), 2000);
  EXPECT_EQ(last_number("5 x 10 = 50"), 50);
  EXPECT_EQ(last_number("5 x 10"), 10);
  EXPECT_EQ(last_number("3e"), 3);
  EXPECT_EQ(last_number("3em"), 3);
}

TEST(LastNumber, OfOtherScriptsAndOfLatex) {
  EXPECT_EQ(last_number("\uff11\uff12\uff0e\uff15"), 12.5);
  EXPECT_EQ(last_number("\uff11\uff0c\uff12\uff13\uff14"), 1234);
  EXPECT_EQ(last_number("\u0663\u0664"), 34);  // Arabic-Indic
  EXPECT_EQ(last_number("\u0967\u0968"), 12);  // Devanagari
  EXPECT_EQ(last_number("\\boxed{-18}"), -18);
  EXPECT_EQ(last_number("\\boxed{\\$1,080\\text{ dollars}}"), 1080);
  EXPECT_EQ(last_number("18\\text{ apples}"), 18);
}

}  // namespace
}  // namespace lacuna
