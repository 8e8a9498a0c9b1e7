#include <cmath>
#include <limits>

#include "core/half.h"
#include "kernels/stochastic_rounding.h"
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

// --- bf16 moments ---

Array<BFloat16> rounded_to_nearest(const Array<float>& x) {
  Array<BFloat16> y(Shape{x.count()});
  for (std::int64_t i = 0; i < x.count(); ++i) y[i] = to_bf16(x[i]);
  return y;
}
Array<float> widened(const Array<BFloat16>& x) {
  Array<float> y(Shape{x.count()});
  for (std::int64_t i = 0; i < x.count(); ++i) y[i] = to_float(x[i]);
  return y;
}
std::uint32_t random_word(const AdamWParameters& p, std::uint64_t n) {
  return MomentRounding{p.seed, std::uint64_t(p.step)}.words(n)[n % 4];
}

// The update in f32 from the widened moments, which are then rounded with the words of their
// numbers: those of a part of a matrix's columns, across the 32 bits of a position.
TEST(AdamW, RoundsBf16MomentsByTheirNumbers) {
  const std::int64_t n = 10007;
  Array<float> g = normal({n}, 4);
  const Array<float> w0 = normal({n}, 1);
  Array<float> squares = normal({n}, 3);
  for (std::int64_t i = 0; i < n; ++i) squares[i] *= squares[i];
  const Array<BFloat16> m0 = rounded_to_nearest(normal({n}, 2)), v0 = rounded_to_nearest(squares);
  List<float> scale{0.7f};
  AdamWParameters p = parameters(5);
  p.seed = 0x123456789abcdef;
  for (const ElementNumbers& numbers :
       {ElementNumbers{}, ElementNumbers{.begin = 3, .first = 2},
        ElementNumbers{.begin = 5, .first = 11, .width = 37, .stride = 101},
        ElementNumbers{
            .begin = (std::uint64_t{1} << 32) - 777, .first = 1, .width = 5000, .stride = 5001}})
    on_every_backend([&](CpuOps& ops) {
      Array<float> w = w0, wide_m = widened(m0), wide_v = widened(v0), expected_w = w0;
      Array<BFloat16> m = m0, v = v0;
      ops.adamw({{.w = w, .m = m, .v = v, .g = g, .numbers = numbers}}, scale, p);
      ops.adamw({{expected_w, wide_m, wide_v, g}}, scale, p);
      EXPECT_TRUE(w.same_bits(expected_w));
      for (std::int64_t i = 0; i < n; ++i) {
        const std::uint64_t at =
            numbers.begin + std::uint64_t((numbers.first + i) / numbers.width * numbers.stride +
                                          (numbers.first + i) % numbers.width);
        const std::uint32_t word = random_word(p, at);
        ASSERT_EQ(m[i].bits, round_stochastically(wide_m[i], word & 0xffff).bits) << i;
        ASSERT_EQ(v[i].bits, round_stochastically(wide_v[i], word >> 16).bits) << i;
      }
      EXPECT_TRUE(m.guards_hold() && v.guards_hold());
    });
}

// 1 + 2^-7 / 5 lies a fifth of the way to the next bf16 number: of N draws that many are rounded
// up, within four standard deviations, in both moments.
TEST(AdamW, RoundingOfMomentsIsUnbiased) {
  CpuOps ops(1);
  const std::int64_t n = 100000;
  Array<float> w({n}), g({n});
  Array<BFloat16> m(Shape{n}), v(Shape{n});
  w.set(0);
  m.set(to_bf16(1));
  v.set(to_bf16(1));
  // m = b1 + (1 - b1) g = 1 + 2^-7 / 5; v likewise of g^2.
  const double up = 0x1p-7 / 5;
  AdamWParameters p{1e-3, 0.5, 0.5, 1e-8, 0, 1, 99};
  g.set(float(std::sqrt(1 + 2 * up)));
  List<float> scale{1.0f};
  ops.adamw({{.w = w, .m = m, .v = v, .g = g}}, scale, p);
  const double mean_m = 0.5 + 0.5 * double(g[0]);
  std::int64_t ups_m = 0, ups_v = 0, both = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const bool m_up = to_float(m[i]) > 1, v_up = to_float(v[i]) > 1;
    ASSERT_TRUE(to_float(m[i]) == 1 || to_float(m[i]) == 1 + 0x1p-7f);
    ASSERT_TRUE(to_float(v[i]) == 1 || to_float(v[i]) == 1 + 0x1p-7f);
    ups_m += m_up;
    ups_v += v_up;
    both += m_up && v_up;
  }
  const double share_m = (mean_m - 1) * 0x1p7, share_v = 0.2;
  const auto within = [&](std::int64_t count, double share) {
    EXPECT_NEAR(double(count), share * double(n), 4 * std::sqrt(share * (1 - share) * double(n)));
  };
  within(ups_m, share_m);
  within(ups_v, share_v);
  within(both, share_m * share_v);  // independent of each other
}

// With beta2 = 0.999 each update changes v by less than half a unit in the last place: rounded to
// nearest it would stay at 1; its mean goes the way of f32.
TEST(AdamW, Bf16MomentsDoNotFreeze) {
  CpuOps ops(2);
  const std::int64_t n = 20000, steps = 300;
  Array<float> w({n}), g({n}), exact_w(Shape{1}), exact_m(Shape{1}), exact_v(Shape{1}),
      exact_g(Shape{1});
  Array<BFloat16> m(Shape{n}), v(Shape{n});
  w.set(0);
  g.set(0);
  m.set(to_bf16(1));
  v.set(to_bf16(1));
  exact_w.set(0);
  exact_m.set(1);
  exact_v.set(1);
  exact_g.set(0);
  List<float> scale{1.0f};
  AdamWParameters p{1e-3, 0.999, 0.999, 1e-8, 0, 1, 7};
  for (p.step = 1; p.step <= steps; ++p.step) {
    ops.adamw({{.w = w, .m = m, .v = v, .g = g}}, scale, p);
    ops.adamw({{exact_w, exact_m, exact_v, exact_g}}, scale, p);
  }
  double mean_m = 0, mean_v = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    mean_m += double(to_float(m[i])) / double(n);
    mean_v += double(to_float(v[i])) / double(n);
  }
  // A step rounds by at most 2^-8, with a variance of at most 2^-16 / 4.
  const double sigma = 0x1p-9 * std::sqrt(double(steps) / double(n));
  EXPECT_NEAR(mean_m, double(exact_m[0]), 5 * sigma);
  EXPECT_NEAR(mean_v, double(exact_v[0]), 5 * sigma);
  EXPECT_LT(exact_v[0], 0.75f);
}

TEST(AdamW, StochasticRoundingKeepsWhatIsNotFinite) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(round_stochastically(infinity, 0xffff).bits, to_bf16(infinity).bits);
  EXPECT_EQ(round_stochastically(-infinity, 0xffff).bits, to_bf16(-infinity).bits);
  EXPECT_TRUE(std::isnan(to_float(round_stochastically(std::bit_cast<float>(0x7f800001u), 0))));
  EXPECT_EQ(round_stochastically(-1.5f, 0xffff).bits, to_bf16(-1.5f).bits);  // exact: no rounding
  CpuOps ops(1);
  Array<float> w({3}), g({3});
  Array<BFloat16> m(Shape{3}), v(Shape{3});
  w.set(0);
  m.set(to_bf16(0));
  v.set(to_bf16(0));
  g.set(infinity);
  List<float> scale{1.0f};
  ops.adamw({{.w = w, .m = m, .v = v, .g = g}}, scale, parameters(1));
  EXPECT_EQ(to_float(m[0]), infinity);
  EXPECT_EQ(to_float(v[2]), infinity);
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
  Array<BFloat16> narrow({2, 3});
  EXPECT_EQ(error_of([&] {
              ops.adamw({{w, narrow, v, g}}, scale, parameters(1));
            }),
            "adamw: v is [2,3] f32; it must be [6] bf16");
  EXPECT_EQ(error_of([&] {
              ops.adamw({{w, m, v, g}, {w, narrow, narrow, g}}, scale, parameters(1));
            }),
            "adamw: m is bf16 in one piece, f32 in the first");
}

}  // namespace
}  // namespace lacuna::testing
