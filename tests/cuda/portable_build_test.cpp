#include <gtest/gtest.h>

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/cuda_ops.h"
#include "tests/support/support.h"

// This program's Hopper kernels are compiled as a build for other architectures than sm_90a has
// them (LACUNA_WITHOUT_HOPPER_CODE), on a device with sm_90's instructions: the emulator.

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;

TEST(PortableBuild, RefusesHopperAttentionAtTheStart) {
  const std::string error = error_of([] { CudaOps ops({.hopper_attention = true}); });
  EXPECT_TRUE(contains(error, "attention_kernels \"hopper\" needs code of sm_90a"));
  EXPECT_TRUE(contains(error, "or choose attention_kernels \"portable\""));
  EXPECT_EQ(error.find('\n'), std::string::npos);
}

TEST(PortableBuild, TakesTheOtherKernelsUnlessToldOtherwise) {
  const CudaOps automatic, portable({.hopper_attention = false});
  EXPECT_EQ(automatic.description().find("wgmma"), std::string::npos);
  EXPECT_EQ(portable.description().find("wgmma"), std::string::npos);
}

// Should anything launch them all the same, it fails instead of leaving results as they were.
TEST(PortableBuild, HopperKernelsTrap) {
  Device device(0);
  for (const int head_dim : {64, 128}) {
    AttentionArguments<BFloat16> a{};
    a.head_dim = head_dim;
    a.segments = a.heads = a.kv_heads = 1;
    void* workspace = device.workspace("test", attention_hopper_fused_workspace(0, 1, 1, head_dim));
    const auto error = [&](auto attention) {
      return error_of([&] {
        attention();
        device.synchronize("test");
      });
    };
    EXPECT_TRUE(
        contains(error([&] { attention_hopper_forward("forward", device.stream(), a, 1, 1); }),
                 "forward: emulator: a trap"));
    EXPECT_TRUE(contains(error([&] {
                           attention_hopper_pingpong_forward("pingpong", device.stream(), a, 1, 1,
                                                             1, false, workspace);
                         }),
                         "pingpong: emulator: a trap"));
    // Its two kernels: by keys, then by queries.
    EXPECT_TRUE(
        contains(error([&] { attention_hopper_backward("keys", device.stream(), a, 0, 1); }),
                 "keys: emulator: a trap"));
    EXPECT_TRUE(
        contains(error([&] { attention_hopper_backward("queries", device.stream(), a, 1, 0); }),
                 "queries: emulator: a trap"));
    EXPECT_TRUE(contains(error([&] {
                           attention_hopper_fused_backward("fused", device.stream(), a, 0, 1,
                                                           workspace);
                         }),
                         "fused: emulator: a trap"));
  }
}

}  // namespace
}  // namespace lacuna
