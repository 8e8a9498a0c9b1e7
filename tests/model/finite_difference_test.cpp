#include "tests/model/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// The derivative of the loss along a random direction of one weight, by Richardson's extrapolation
/// of two central differences, and how far it may be off.
struct Derivative {
  double value, error;
};
Derivative derivative(Tiny& tiny, const Tensor& w, const std::vector<float>& direction) {
  const std::vector<float> before = elements(w);
  const auto loss_at = [&](double step) {
    for (std::size_t i = 0; i < before.size(); ++i)
      w.as<float>()[i] = float(double(before[i]) + step * double(direction[i]));
    return tiny.loss();
  };
  const auto difference = [&](double step) {
    return (loss_at(step) - loss_at(-step)) / (2 * step);
  };
  constexpr double kStep = 1.0 / 128;
  const double wide = difference(kStep), narrow = difference(kStep / 2);
  const double size = std::abs(loss_at(0));
  // Truncation: what extrapolation took away, which is larger than what it left. Rounding: the loss
  // is known to some 64 units (a path of about 20 sums of up to 36 terms).
  return {(4 * narrow - wide) / 3, std::abs(narrow - wide) + 64 * kUnit * size / kStep};
}

struct Family {
  const char* name;
  bool causal, tied;
  int kv_heads;
  bool qkv_bias = false, qk_norm = false;
  int head_dim = 0;

  ModelConfig config() const {
    ModelConfig c = tiny_config(causal, tied, kv_heads);
    c.qkv_bias = qkv_bias;
    c.qk_norm = qk_norm;
    c.head_dim = head_dim;
    return c;
  }
};

class FiniteDifferences : public ::testing::TestWithParam<Family> {
 protected:
  static void expect_agreement(Tiny& tiny);
};

TEST_P(FiniteDifferences, AgreeWithBackward) {
  Tiny tiny(GetParam().config(), {5, 3, 7}, {0, 4, 6, 7, 8, 12, 14});
  expect_agreement(tiny);
}

// Six tokens in blocks of two, noisy and clean, at positions used twice; the noisy second block and
// the clean third are left out. Then a plain block-causal sequence.
TEST_P(FiniteDifferences, AgreeOnRowsOfBlockDiffusion) {
  ModelConfig config = GetParam().config();
  config.attention = Attention::block_causal;
  config.block_size = 2;
  Tiny rows(config, {8}, {0, 1, 2, 6});
  rows.sequences.positions = {0, 1, 4, 5, 0, 1, 2, 3};
  for (const KeyIntervals& k : {KeyIntervals{0, 2, 2, 2}, {2, 4, 4, 8}, {4, 6, 6, 6}, {4, 8, 8, 8}})
    rows.sequences.keys.insert(rows.sequences.keys.end(), 2, k);
  if (GetParam().causal)  // clean rows of a model with causal context
    for (std::int32_t row = 4; row < 8; ++row)
      rows.sequences.keys[std::size_t(row)] = key_interval(4, row + 1);
  expect_agreement(rows);
  Tiny plain(config, {5, 4}, {0, 2, 4, 5, 7});
  expect_agreement(plain);
}

void FiniteDifferences::expect_agreement(Tiny& tiny) {
  tiny.backward();
  for (std::size_t i = 0; i < tiny.weights->named().size(); ++i) {
    const NamedWeight &w = tiny.weights->named()[i], &g = tiny.gradients->named()[i];
    // Along the gradient itself, where the derivative is its norm, and across it at random.
    std::vector<float> direction = elements(g.tensor);
    const double length = norm(g.tensor);
    ASSERT_GT(length, 1e-3) << w.name;
    for (float& x : direction) x = float(double(x) / length);
    const Derivative along = derivative(tiny, w.tensor, direction);
    EXPECT_LT(along.error, 0.05 * length) << w.name;  // or the comparison would say little
    EXPECT_NEAR(along.value, length, along.error) << w.name;

    const CounterRng rng{7, Purpose::benchmark, i};
    double expected = 0;
    for (std::size_t e = 0; e < direction.size(); ++e) {
      direction[e] = float(rng.normal_pair(std::uint32_t(e))[0] / std::sqrt(direction.size()));
      expected += double(direction[e]) * double(g.tensor.as<float>()[e]);
    }
    const Derivative across = derivative(tiny, w.tensor, direction);
    EXPECT_NEAR(across.value, expected, across.error) << w.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, FiniteDifferences,
                         ::testing::Values(Family{"full", false, false, 4},
                                           Family{"grouped_tied", false, true, 2},
                                           Family{"causal", true, false, 1},
                                           Family{"biased", false, true, 2, true},
                                           Family{"normed", false, true, 4, false, true, 8},
                                           Family{"wide", true, false, 4, false, true, 8}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace lacuna
