#include "kernels/cpu/cpu_ops.h"

#include "kernels/cpu/blas.h"
#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

TEST(CpuOps, SaysWhatItIs) {
  CpuOps one(1), three(3);
  EXPECT_EQ(one.description(), str("cpu, 1 thread, ", simd_kernels().name));
  EXPECT_EQ(three.description(), str("cpu, 3 threads, ", simd_kernels().name));
  EXPECT_EQ(one.place(), Place::host);
  EXPECT_EQ(&one.memory(), &host_memory());
  EXPECT_EQ(three.pool().size(), 3);
  one.synchronize();
}

TEST(CpuOps, NamesItsBlas) { EXPECT_TRUE(contains(blas_description(), "OpenBLAS ")); }

}  // namespace
}  // namespace lacuna::testing
