#include <cmath>
#include <limits>

#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

TEST(AdamW, AgreesWithPyTorch) {
  const Golden golden("kernels_adamw");
  AdamWParameters p{};
  p.learning_rate = std::stod(golden.metadata("learning_rate"));
  p.beta1 = std::stod(golden.metadata("beta1"));
  p.beta2 = std::stod(golden.metadata("beta2"));
  p.eps = std::stod(golden.metadata("eps"));
  p.weight_decay = std::stod(golden.metadata("weight_decay"));
  on_every_backend([&](CpuOps& ops) {
    Array<float> w = copied<float>(golden["w"]), m(Shape{23}), v(Shape{23});
    m.set(0);
    v.set(0);
    for (std::int64_t i = 0; i < 4; ++i) {
      p.step = i + 1;
      ops.adamw(w, m, v, golden["gradients"].row_range(i, 1).reshaped({23}),
                golden["scales"].row_range(i, 1), p);
      EXPECT_TRUE(is_close(w, golden["weights"].row_range(i, 1), 1e-6, 1e-7)) << "step " << i + 1;
    }
    EXPECT_TRUE(is_close(m, golden["m"], 1e-6, 1e-8));
    EXPECT_TRUE(is_close(v, golden["v"], 1e-6, 1e-9));
    EXPECT_TRUE(w.guards_hold() && m.guards_hold() && v.guards_hold());
  });
}

AdamWParameters parameters(std::int64_t step) { return {1e-2, 0.9, 0.95, 1e-8, 0.1, step}; }

TEST(AdamW, IsTheSameForAnyThreads) {
  const std::int64_t n = 50003;
  Array<float> g = normal({n}, 4);
  List<float> scale{0.7f};
  const Array<float> w0 = normal({n}, 1), m0 = normal({n}, 2);
  Array<float> v0 = normal({n}, 3);
  for (std::int64_t i = 0; i < n; ++i) v0[i] *= v0[i];
  for (const SimdKernels* kernels : instruction_sets()) {
    Array<float> w1 = w0, m1 = m0, v1 = v0;
    CpuOps(1, *kernels).adamw(w1, m1, v1, g, scale, parameters(5));
    for (const int threads : {2, 3, 7}) {
      Array<float> w = w0, m = m0, v = v0;
      CpuOps(threads, *kernels).adamw(w, m, v, g, scale, parameters(5));
      EXPECT_TRUE(w.same_bits(w1) && m.same_bits(m1) && v.same_bits(v1));
    }
  }
}

TEST(AdamW, FirstStepMovesByTheLearningRate) {
  // m / (1 - b1) = g and v / (1 - b2) = g^2, so each weight moves by lr sign(g), and decays.
  CpuOps ops(1);
  List<float> w{1.0f, 1.0f, 1.0f}, m{0.0f, 0.0f, 0.0f}, v{0.0f, 0.0f, 0.0f}, g{1e-3f, -5.0f, 0.0f},
      scale{1.0f};
  ops.adamw(w, m, v, g, scale, parameters(1));
  EXPECT_NEAR(w[0], 1 - 1e-2 - 1e-3, 1e-6);
  EXPECT_NEAR(w[1], 1 + 1e-2 - 1e-3, 1e-6);
  EXPECT_NEAR(w[2], 1 - 1e-3, 1e-7);
}

TEST(AdamW, LeavesEverythingWhenTheScaleIsNotFinite) {
  CpuOps ops(2);
  Array<float> w = normal({9}, 1), m = normal({9}, 2), v = normal({9}, 3), g = normal({9}, 4);
  const Array<float> w0 = w, m0 = m, v0 = v;
  for (const float bad : {float(NAN), std::numeric_limits<float>::infinity()}) {
    List<float> scale{bad};
    ops.adamw(w, m, v, g, scale, parameters(1));
    EXPECT_TRUE(w.same_bits(w0) && m.same_bits(m0) && v.same_bits(v0));
  }
}

TEST(AdamW, NamesWhatDisagrees) {
  CpuOps ops(1);
  Array<float> w({2, 3}), m({2, 3}), v({2, 3}), g({2, 3}), four(Shape{4}), six(Shape{6});
  List<float> scale{1.0f};
  EXPECT_EQ(error_of([&] { ops.adamw(w, four, v, g, scale, parameters(1)); }),
            "adamw: m is [4] f32; it must be [6] f32");
  EXPECT_EQ(error_of([&] { ops.adamw(w, six, v, g, scale, parameters(1)); }),
            "adamw: m is [6] f32 but w is [2,3] f32; their shapes must be the same");
  EXPECT_EQ(error_of([&] { ops.adamw(w, m, v, g, four, parameters(1)); }),
            "adamw: scale is [4] f32; it must be [1] f32");
  EXPECT_EQ(error_of([&] { ops.adamw(w, m, v, g, scale, parameters(0)); }),
            "adamw: step is 0; the first update is step 1");
}

}  // namespace
}  // namespace lacuna::testing
