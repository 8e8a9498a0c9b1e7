#include <limits>

#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

TEST(Guide, AgreesWithPyTorch) {
  const Golden golden("kernels_guide");
  const float scale = std::stof(golden.metadata("scale"));
  on_every_backend([&](CpuOps& ops) {
    Array<float> logits = copied<float>(golden["logits"]);
    ops.apply_cfg(logits, golden["unconditional"], scale);
    EXPECT_TRUE(is_close(logits, golden["guided"], 1e-6, 2e-6));
    EXPECT_TRUE(logits.guards_hold());
  });
}

TEST(Guide, OfLongTensors) {
  const Array<float> before = normal({9, 5003}, 1);
  Array<float> other = normal({9, 5003}, 2);
  on_every_backend([&](CpuOps& ops) {
    Array<float> logits = before;
    ops.apply_cfg(logits, other, 0.5f);
    for (std::int64_t i = 0; i < logits.count(); ++i) {
      const double expected = double(other[i]) + 1.5 * (double(before[i]) - double(other[i]));
      ASSERT_NEAR(logits[i], expected, 2e-6);
    }
  });
}

TEST(Guide, ByNothingLeavesEveryBit) {
  CpuOps ops(1);
  Array<float> logits = normal({3, 40}, 1), other = normal({3, 40}, 2, 1e8);
  const Array<float> before = logits;
  ops.apply_cfg(logits, other, 0);
  EXPECT_TRUE(logits.same_bits(before));
}

TEST(Guide, ByMinusOneIsUnconditional) {
  CpuOps ops(1);
  Array<float> logits = normal({3, 40}, 1), other = normal({3, 40}, 2);
  ops.apply_cfg(logits, other, -1);
  EXPECT_TRUE(logits.same_bits(other));
}

TEST(Guide, NamesWhatDisagrees) {
  CpuOps ops(1);
  Array<float> logits({2, 3}), other({3, 2}), gapped({2, 3}, 1);
  EXPECT_EQ(error_of([&] { ops.apply_cfg(logits, other, 1); }),
            "apply_cfg: unconditional is [3,2] f32; it must be [2,3] f32");
  EXPECT_TRUE(
      contains(error_of([&] { ops.apply_cfg(gapped, logits, 1); }), "apply_cfg: logits is"));
}

}  // namespace
}  // namespace lacuna::testing
