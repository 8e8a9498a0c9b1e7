#include <cmath>
#include <limits>

#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

TEST(CrossEntropy, AgreesWithPyTorch) {
  const Golden golden("kernels_cross_entropy");
  on_every_backend([&](CpuOps& ops) {
    Array<float> loss(Shape{6}), again(Shape{6}), logits = copied<float>(golden["logits"]);
    ops.cross_entropy_forward(loss, golden["logits"], golden["targets"]);
    EXPECT_TRUE(is_close(loss, golden["loss"], 1e-6, 1e-6));
    ops.cross_entropy_backward(again, logits, golden["targets"], golden["weights"]);
    EXPECT_TRUE(is_close(again, golden["loss"], 1e-6, 1e-6));
    EXPECT_TRUE(is_close(logits, golden["dlogits"], 2e-6, 1e-12));
    EXPECT_TRUE(loss.guards_hold() && logits.guards_hold());
  });
}

// Across the chunks of a long row, whose maximum may be anywhere.
TEST(CrossEntropy, OfLongAndShortRows) {
  for (const std::int64_t cols : {1, 2, 15, 2047, 2048, 2049, 5003}) {
    const std::int64_t rows = 9;
    Array<float> logits = normal({rows, cols}, 1, 4), weights = normal({rows}, 3);
    for (std::int64_t m = 0; m < rows; ++m) logits.at(m, m * (cols - 1) / (rows - 1)) += 20;
    Array<std::int32_t> targets = integers(rows, cols, 2);
    Array<double> loss_expected(Shape{rows}), expected({rows, cols});
    for (std::int64_t m = 0; m < rows; ++m) {
      double max = -1e300, sum = 0;
      for (std::int64_t v = 0; v < cols; ++v) max = std::max(max, double(logits.at(m, v)));
      for (std::int64_t v = 0; v < cols; ++v) sum += std::exp(double(logits.at(m, v)) - max);
      loss_expected[m] = std::log(sum) + max - double(logits.at(m, targets[m]));
      for (std::int64_t v = 0; v < cols; ++v)
        expected.at(m, v) = double(weights[m]) *
                            (std::exp(double(logits.at(m, v)) - max) / sum - (v == targets[m]));
    }
    on_every_backend([&](CpuOps& ops) {
      SCOPED_TRACE(cols);
      Array<float> loss(Shape{rows}), gradient = logits;
      ops.cross_entropy_forward(loss, logits, targets);
      EXPECT_TRUE(is_close(loss, loss_expected, 1e-6, 2e-6));
      ops.cross_entropy_backward(loss, gradient, targets, weights);
      EXPECT_TRUE(is_close(loss, loss_expected, 1e-6, 2e-6));
      // A chunk's 2,048 terms add up in f32, in eight lanes: 256 roundings of at most 2^-24, 1.5e-5
      // of the sum. (Instrumented builds have one lane, and errors of 1e-5.)
      EXPECT_TRUE(is_close(gradient, expected, 1.5e-5, 5e-7));
      EXPECT_TRUE(loss.guards_hold() && gradient.guards_hold());
    });
  }
}

TEST(CrossEntropy, BackwardIsTheGradient) {
  on_every_instruction_set([](CpuOps& ops) {
    Array<float> logits = normal({3, 7}, 1), weights = normal({3}, 2), loss(Shape{3});
    List<std::int32_t> targets{6, 0, 3};
    Array<float> gradient = logits;
    ops.cross_entropy_backward(loss, gradient, targets, weights);
    expect_gradient("logits", logits, gradient, [&] {
      ops.cross_entropy_forward(loss, logits, targets);
      return weighted_sum(loss, weights);
    });
  });
}

TEST(CrossEntropy, OfExtremes) {
  on_every_instruction_set([](CpuOps& ops) {
    const float inf = std::numeric_limits<float>::infinity();
    Array<float> logits({4, 3}, {3e38f, -3e38f, 0, -inf, 0, 0, NAN, 0, 0, 1e4f, 1e4f, -1e4f});
    List<std::int32_t> targets{0, 1, 1, 2};
    List<float> weights{1, 1, 1, 1};
    Array<float> loss(Shape{4});
    Array<float> gradient = logits;
    ops.cross_entropy_backward(loss, gradient, targets, weights);
    EXPECT_EQ(loss[0], 0.0f);  // certain
    EXPECT_NEAR(loss[1], std::log(2.0), 1e-6);
    EXPECT_EQ(gradient.at(1, 0), 0.0f);  // impossible tokens stay so
    EXPECT_TRUE(std::isnan(loss[2]));    // shown, not hidden
    EXPECT_NEAR(loss[3], 2e4 + std::log(2.0), 1e-2);
  });
}

// Rows apart, or at odd addresses: the same bits, and nothing written between them.
TEST(CrossEntropy, OfStridedLogits) {
  for (const std::int64_t cols : {1, 7, 64, 301})
    for (const std::int64_t gap : {std::int64_t{1}, 64 - cols % 64}) {
      Array<float> dense = normal({5, cols}, 1, 3), strided = normal({5, cols}, 1, 3, gap);
      const Array<float> weights = normal({5}, 2);
      const Array<std::int32_t> targets = integers(5, cols, 4);
      on_every_backend([&](CpuOps& ops) {
        Array<float> x = dense, y = strided, loss(Shape{5}), other(Shape{5}), w = weights;
        Array<std::int32_t> t = targets;
        ops.cross_entropy_forward(loss, x, t);
        ops.cross_entropy_forward(other, y, t);
        EXPECT_TRUE(loss.same_bits(other)) << cols;
        ops.cross_entropy_backward(loss, x, t, w);
        ops.cross_entropy_backward(other, y, t, w);
        EXPECT_TRUE(loss.same_bits(other)) << cols;
        EXPECT_TRUE(x.same_bits(copied<float>(y))) << cols;
        EXPECT_TRUE(y.guards_hold());
      });
    }
}

TEST(CrossEntropy, OfNoRows) {
  CpuOps ops(2);
  Array<float> loss(Shape{0}), logits(Shape{0, 9}), weights(Shape{0});
  Array<std::int32_t> targets(Shape{0});
  ops.cross_entropy_forward(loss, logits, targets);
  ops.cross_entropy_backward(loss, logits, targets, weights);
}

TEST(CrossEntropy, NamesWhatIsWrong) {
  CpuOps ops(1);
  Array<float> loss(Shape{2}), logits = normal({2, 3}, 1), weights(Shape{3});
  List<std::int32_t> targets{2, 3}, good{0, 0}, three{0, 0, 0};
  const Array<float> before = logits;
  EXPECT_EQ(error_of([&] { ops.cross_entropy_forward(loss, logits, targets); }),
            "cross_entropy_forward: targets[1] is 3; it must be in [0,3)");
  EXPECT_EQ(error_of([&] { ops.cross_entropy_forward(loss, logits, three); }),
            "cross_entropy_forward: targets is [3] i32; it must be [2] i32");
  EXPECT_EQ(error_of([&] { ops.cross_entropy_backward(loss, logits, good, weights); }),
            "cross_entropy_backward: weights is [3] f32; it must be [2] f32");
  EXPECT_TRUE(logits.same_bits(before));
}

}  // namespace
}  // namespace lacuna::testing
