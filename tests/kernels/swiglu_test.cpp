#include <cmath>

#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

TEST(Swiglu, AgreesWithPyTorch) {
  const Golden golden("kernels_swiglu");
  on_every_backend([&](CpuOps& ops) {
    Array<float> y({5, 19}), again({5, 19}), d_gate_up({5, 38});
    ops.swiglu_forward(y, golden["gate_up"]);
    EXPECT_TRUE(is_close(y, golden["y"], 1e-6, 1e-30));
    ops.swiglu_backward(d_gate_up, again, golden["dy"], golden["gate_up"]);
    // gate (1 - s) cancels the 1 near the minimum of silu, so the error is relative to the terms.
    EXPECT_TRUE(is_close(d_gate_up, golden["d_gate_up"], 1e-6, 2e-6));
    EXPECT_TRUE(is_close(again, golden["y"], 1e-6, 1e-30));
    EXPECT_TRUE(y.guards_hold() && again.guards_hold() && d_gate_up.guards_hold());
  });
}

TEST(Swiglu, OfOddSizesAndInPlace) {
  for (const std::int64_t rows : {0, 1, 3, 130}) {
    for (const std::int64_t cols : {1, 7, 16, 700}) {
      Array<float> gate_up = normal({rows, 2 * cols}, 1, 3), dy = normal({rows, cols}, 2);
      Array<double> expected({rows, cols});
      for (std::int64_t n = 0; n < rows; ++n)
        for (std::int64_t f = 0; f < cols; ++f)
          expected.at(n, f) = double(gate_up.at(n, f)) / (1 + std::exp(-double(gate_up.at(n, f)))) *
                              double(gate_up.at(n, cols + f));
      on_every_backend([&](CpuOps& ops) {
        Array<float> y({rows, cols}), again({rows, cols}), d({rows, 2 * cols});
        ops.swiglu_forward(y, gate_up);
        EXPECT_TRUE(is_close(y, expected, 1e-6, 1e-30));
        ops.swiglu_backward(d, again, dy, gate_up);
        Array<float> in_place = gate_up, dy_in_place = dy;
        ops.swiglu_backward(in_place, dy_in_place, dy_in_place, in_place);
        EXPECT_TRUE(in_place.same_bits(d));
        EXPECT_TRUE(dy_in_place.same_bits(again));
        EXPECT_TRUE(y.guards_hold() && d.guards_hold() && in_place.guards_hold());
      });
    }
  }
}

TEST(Swiglu, BackwardIsTheGradient) {
  on_every_instruction_set([](CpuOps& ops) {
    Array<float> gate_up = normal({3, 10}, 1), dy = normal({3, 5}, 2), y({3, 5}), d({3, 10});
    ops.swiglu_backward(d, y, dy, gate_up);
    expect_gradient("d_gate_up", gate_up, d, [&] {
      ops.swiglu_forward(y, gate_up);
      return weighted_sum(y, dy);
    });
  });
}

TEST(Swiglu, OfExtremes) {
  on_every_instruction_set([](CpuOps& ops) {
    // silu(g) is g for large g and 0 for very negative g, never NaN.
    Array<float> gate_up({4, 2}, {1000, 2, -1000, 2, 3e38f, 0.5f, -3e38f, 0.5f});
    Array<float> dy({4, 1}, {1, 1, 1, 1}), y({4, 1}), d({4, 2});
    ops.swiglu_backward(d, y, dy, gate_up);
    EXPECT_EQ(y[0], 2000.0f);
    EXPECT_EQ(y[2], 1.5e38f);
    EXPECT_NEAR(y[1], 0, 1e-30);
    EXPECT_NEAR(d.at(0, 0), 2, 1e-6);
    EXPECT_NEAR(d.at(1, 0), 0, 1e-30);
    for (std::int64_t i = 0; i < d.count(); ++i) EXPECT_FALSE(std::isnan(d[i])) << i;
  });
}

TEST(Swiglu, NamesWhatDisagrees) {
  CpuOps ops(1);
  Array<float> y({3, 4}), gate_up({3, 6}), good({3, 8}), dy({2, 4});
  EXPECT_EQ(error_of([&] { ops.swiglu_forward(y, gate_up); }),
            "swiglu_forward: gate_up is [3,6] f32; it must be [3,8] f32");
  EXPECT_EQ(error_of([&] { ops.swiglu_backward(good, y, dy, good); }),
            "swiglu_backward: dy is [2,4] f32; it must be [3,4] f32");
}

}  // namespace
}  // namespace lacuna::testing
