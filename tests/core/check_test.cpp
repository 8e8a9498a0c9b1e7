#include "core/check.h"

#include <limits>
#include <sstream>

#include "core/tensor.h"
#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

TEST(Check, ThrowsItsPartsWhenFalse) {
  const int rows = 3;
  EXPECT_EQ(error_of([&] { CHECK(rows == 4, "x has ", rows, " rows; it must have ", 4); }),
            "x has 3 rows; it must have 4");
  EXPECT_EQ(error_of([&] { CHECK(rows == 3, "not thrown"); }), "");
}

TEST(Check, EvaluatesPartsOnlyWhenFalse) {
  int calls = 0;
  const auto part = [&] { return ++calls; };
  CHECK(true, part());
  EXPECT_EQ(calls, 0);
}

TEST(Check, KnowsWhereItWasWritten) {
  int line = 0;
  try {
    line = __LINE__ + 1;
    CHECK(false, "here");
  } catch (const Error& e) {
    EXPECT_EQ(e.where.line, line);
    EXPECT_TRUE(contains(e.where.file, "check_test.cpp"));
  }
}

TEST(Check, MistakesOfUseAreErrorsOfTheirOwnKind) {
  EXPECT_EQ(error_of<UsageError>([] { fail_usage("--steps is -1"); }), "--steps is -1");
  EXPECT_EQ(error_of<Error>([] { fail_usage("--steps is -1"); }), "--steps is -1");
  EXPECT_THROW(fail("no disk"), Error);
  try {
    fail("no disk");
  } catch (const UsageError&) {
    FAIL() << "an Error is not a UsageError";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "no disk");
  }
}

TEST(Str, PrintsPartsOneAfterAnother) {
  EXPECT_EQ(str("rank ", 3, " of ", 8L, ", ", 0.5, 'x', std::string("y")), "rank 3 of 8, 0.5xy");
  EXPECT_EQ(str(), "");
  EXPECT_EQ(str(std::string_view("a\0b", 3), '\0').size(), 4u);
  const char text[8] = "abc";
  EXPECT_EQ(str(text, true, false), "abc10");
}

TEST(Str, PrintsNumbersAsStreamsDo) {
  EXPECT_EQ(str(std::numeric_limits<std::int64_t>::min()), "-9223372036854775808");
  EXPECT_EQ(str(std::numeric_limits<std::uint64_t>::max()), "18446744073709551615");
  EXPECT_EQ(str(std::int8_t{-1}, ' ', std::uint32_t{4294967295}), "-1 4294967295");
  for (const double number : {0.0, -0.0, 1.0, 0.1, 1234567.0, 123456.5, 1e-5, 6.02e23, -1e300,
                              std::numeric_limits<double>::infinity()}) {
    std::ostringstream stream;
    stream << number;
    EXPECT_EQ(str(number), stream.str());
    EXPECT_EQ(str(float(number)), str(double(float(number))));
  }
}

TEST(Str, PrintsWhatHasATextOf) {
  EXPECT_EQ(str("x ", Shape{2, 3}, ' ', DType::bf16), "x [2,3] bf16");
  EXPECT_EQ(str(Shape{}, Tensor(nullptr, {7}, DType::i32)), "[][7] i32");
}

}  // namespace
}  // namespace lacuna::testing
