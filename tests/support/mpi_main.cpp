// main() of test programs that run on one or several ranks: every rank runs the same tests. Rank 0
// prints as usual, the others only what fails.
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <string>

#include "tests/support/ranks.h"

namespace {

lacuna::MpiSession* current_session = nullptr;

class FailurePrinter : public ::testing::EmptyTestEventListener {
  void OnTestStart(const ::testing::TestInfo& test) override {
    test_ = std::string(test.test_suite_name()) + "." + test.name();
  }
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "rank %d: %s: %s:%d: %s\n", current_session->rank(), test_.c_str(),
                 result.file_name(), result.line_number(), result.message());
  }
  // UnitTest knows it too, but holds its lock while it tells of a failure.
  std::string test_;
};

}  // namespace

lacuna::MpiSession& lacuna::testing::session() { return *current_session; }

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  return lacuna::run_ranks([](lacuna::MpiSession& session) {
    current_session = &session;
    if (session.rank() != 0) {
      auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
      const std::unique_ptr<::testing::TestEventListener> printer(
          listeners.Release(listeners.default_result_printer()));
      listeners.Append(new FailurePrinter);
    }
    return RUN_ALL_TESTS();
  });
}
