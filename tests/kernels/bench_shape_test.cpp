#include "kernels/bench/op_cases.h"
#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

TEST(BenchShape, IsFoundByName) {
  for (const BenchShape& s : bench_shapes()) EXPECT_EQ(bench_shape(s.name).dim, s.dim);
  EXPECT_EQ(error_of([] { (void)bench_shape("9m"); }),
            "there is no shape \"9m\"; there are 5m, 34m, 52m, 1b-4, 8b-2");
}

TEST(BenchShape, TakesALength) {
  const BenchShape s = bench_shape("5m@100");
  EXPECT_EQ(s.name, "5m@100");
  EXPECT_EQ(s.tokens(), 100);
  EXPECT_EQ(s.length, 100);
  EXPECT_EQ(s.dim, bench_shape("5m").dim);
  for (const char* wrong : {"5m@", "5m@0", "5m@-3", "5m@1k", "5m@1048577",
                            "5m@99999999999999999999", "5m@4@5", "5m@ 4"})
    EXPECT_EQ(error_of([&] { (void)bench_shape(wrong); }),
              str("the length of shape \"", wrong, "\" must be a number from 1 to 1048576"));
  EXPECT_TRUE(contains(error_of([] { (void)bench_shape("9m@4"); }), "there is no shape \"9m\""));
}

}  // namespace
}  // namespace lacuna::testing
