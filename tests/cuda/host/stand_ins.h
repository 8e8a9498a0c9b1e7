#pragma once
#include <gtest/gtest.h>

#include <string>

#include "kernels/platform/emulated/toolkit/toolkit.h"
#include "tests/support/support.h"

namespace lacuna::testing {

/// A test that starts with a new machine, and whose calls break no rule but those it asks about.
class StandInTest : public ::testing::Test {
 protected:
  StandInTest() { toolkit::start_machine(); }
  ~StandInTest() override {
    EXPECT_EQ(toolkit::in_use(), "");
    for (const std::string& what : toolkit::take_violations()) ADD_FAILURE() << what;
    toolkit::start_machine();
  }
};

/// Whether one violation was noted, and says `text`.
inline ::testing::AssertionResult only_violation(const std::string& text) {
  const std::vector<std::string> all = toolkit::take_violations();
  if (all.size() == 1 && all[0].find(text) != std::string::npos)
    return ::testing::AssertionSuccess();
  auto failure = ::testing::AssertionFailure() << "expected one about '" << text << "', not";
  for (const std::string& what : all) failure << " '" << what << "'";
  return failure;
}

/// Whether a call was refused: with this code, and a violation that says `text`.
template <class Code>
::testing::AssertionResult refused(Code returned, Code expected, const std::string& text) {
  (void)cudaGetLastError();
  const ::testing::AssertionResult violation = only_violation(text);
  if (returned == expected) return violation;
  return ::testing::AssertionFailure() << "returned " << int(returned) << ", not " << int(expected);
}

}  // namespace lacuna::testing
