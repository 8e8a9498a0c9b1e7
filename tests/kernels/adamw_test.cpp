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
      ops.adamw({{w, m, v, golden["gradients"].row_range(i, 1).reshaped({23})}},
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
    CpuOps(1, *kernels).adamw({{w1, m1, v1, g}}, scale, parameters(5));
    for (const int threads : {2, 3, 7}) {
      Array<float> w = w0, m = m0, v = v0;
      CpuOps(threads, *kernels).adamw({{w, m, v, g}}, scale, parameters(5));
      EXPECT_TRUE(w.same_bits(w1) && m.same_bits(m1) && v.same_bits(v1));
    }
  }
}

TEST(AdamW, FirstStepMovesByTheLearningRate) {
  // m / (1 - b1) = g and v / (1 - b2) = g^2, so each weight moves by lr sign(g), and decays.
  CpuOps ops(1);
  List<float> w{1.0f, 1.0f, 1.0f}, m{0.0f, 0.0f, 0.0f}, v{0.0f, 0.0f, 0.0f}, g{1e-3f, -5.0f, 0.0f},
      scale{1.0f};
  ops.adamw({{w, m, v, g}}, scale, parameters(1));
  EXPECT_NEAR(w[0], 1 - 1e-2 - 1e-3, 1e-6);
  EXPECT_NEAR(w[1], 1 + 1e-2 - 1e-3, 1e-6);
  EXPECT_NEAR(w[2], 1 - 1e-3, 1e-7);
}

TEST(AdamW, UpdatesEveryPieceAsIfAloneAndRoundsIt) {
  CpuOps ops(2);
  struct Piece {
    explicit Piece(std::int64_t n)
        : w(normal({n}, 1)), m(normal({n}, 2)), v(Shape{n}), g(normal({n}, 4)), rounded(Shape{n}) {
      for (std::int64_t i = 0; i < n; ++i) v[i] = m[i] * m[i];
    }
    Array<float> w, m, v, g, rounded;
  };
  Piece a(1001), b(3), c(40000);
  Piece alone_a = a, alone_b = b, alone_c = c;
  List<float> scale{0.7f};
  ops.adamw({{a.w, a.m, a.v, a.g, a.rounded},
             {.w = b.w, .m = b.m, .v = b.v, .g = b.g, .decays = false},
             {c.w, c.m, c.v, c.g}},
            scale, parameters(5));
  AdamWParameters undecayed = parameters(5);
  undecayed.weight_decay = 0;
  ops.adamw({{alone_a.w, alone_a.m, alone_a.v, alone_a.g}}, scale, parameters(5));
  ops.adamw({{alone_b.w, alone_b.m, alone_b.v, alone_b.g}}, scale, undecayed);
  ops.adamw({{alone_c.w, alone_c.m, alone_c.v, alone_c.g}}, scale, parameters(5));
  EXPECT_TRUE(a.w.same_bits(alone_a.w) && a.m.same_bits(alone_a.m) && a.v.same_bits(alone_a.v));
  EXPECT_TRUE(b.w.same_bits(alone_b.w) && b.m.same_bits(alone_b.m) && b.v.same_bits(alone_b.v));
  EXPECT_TRUE(c.w.same_bits(alone_c.w) && c.m.same_bits(alone_c.m) && c.v.same_bits(alone_c.v));
  EXPECT_TRUE(a.rounded.same_bits(a.w));
}

TEST(AdamW, LeavesEverythingWhenTheScaleIsNotFinite) {
  CpuOps ops(2);
  Array<float> w = normal({9}, 1), m = normal({9}, 2), v = normal({9}, 3), g = normal({9}, 4);
  const Array<float> w0 = w, m0 = m, v0 = v;
  for (const float bad : {float(NAN), std::numeric_limits<float>::infinity()}) {
    List<float> scale{bad};
    ops.adamw({{w, m, v, g}}, scale, parameters(1));
    EXPECT_TRUE(w.same_bits(w0) && m.same_bits(m0) && v.same_bits(v0));
  }
}

TEST(AdamW, NamesWhatDisagrees) {
  CpuOps ops(1);
  Array<float> w({2, 3}), m({2, 3}), v({2, 3}), g({2, 3}), four(Shape{4}), six(Shape{6});
  List<float> scale{1.0f};
  EXPECT_EQ(error_of([&] {
              ops.adamw({{w, four, v, g}}, scale, parameters(1));
            }),
            "adamw: m is [4] f32; it must be [6] f32");
  EXPECT_EQ(error_of([&] {
              ops.adamw({{w, six, v, g}}, scale, parameters(1));
            }),
            "adamw: m is [6] f32 but w is [2,3] f32; their shapes must be the same");
  EXPECT_EQ(error_of([&] {
              ops.adamw({{w, m, v, g}}, four, parameters(1));
            }),
            "adamw: scale is [4] f32; it must be [1] f32");
  EXPECT_EQ(error_of([&] {
              ops.adamw({{w, m, v, g}}, scale, parameters(0));
            }),
            "adamw: step is 0; the first update is step 1");
}

}  // namespace
}  // namespace lacuna::testing
