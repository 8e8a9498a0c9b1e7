// Tests of tests/cuda that know nothing of stand-ins run in this program, too.
#include <gtest/gtest.h>

#include "kernels/platform/emulated/toolkit/toolkit.h"

namespace {

class NoViolations : public ::testing::Environment {
  void TearDown() override {
    EXPECT_EQ(lacuna::toolkit::in_use(), "");
    for (const std::string& what : lacuna::toolkit::take_violations()) ADD_FAILURE() << what;
  }
};
const auto* const environment = ::testing::AddGlobalTestEnvironment(new NoViolations);

}  // namespace
