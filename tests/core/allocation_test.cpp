// What std::bad_alloc says (core/allocation.cpp).
#include <limits>
#include <new>
#include <vector>

#include "core/machine.h"
#include "tests/support/support.h"

namespace lacuna::testing {
namespace {

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Allocation, AFailedOneSaysHowLargeItWas) {
  // More than the address space of any x86-64 process.
  EXPECT_EQ(error_of<std::bad_alloc>([] { std::vector<char> all(std::size_t{1} << 60); }),
            "out of memory: 1073741824.0 GiB in one piece cannot be had");
}
#endif

TEST(Allocation, IsCheckedBeforehandWhereAUserSetsItsSize) {
  EXPECT_EQ(error_of([] { check_memory_for(1000, 8, "the estimates"); }), "");
  EXPECT_TRUE(
      contains(error_of([] { check_memory_for(std::int64_t{1} << 50, 8, "the estimates"); }),
               "out of memory: the estimates needs 8.00 PiB; "));
  EXPECT_TRUE(contains(
      error_of([] { check_memory_for(std::numeric_limits<std::int64_t>::max(), 8, "all"); }),
      "out of memory: all needs more than 8 EiB; "));
}

}  // namespace
}  // namespace lacuna::testing
