#include "core/check.h"

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
}

}  // namespace
}  // namespace lacuna::testing
