#include <numbers>

#include "tests/model/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

ModelConfig config() {
  ModelConfig c;
  c.vocab_size = 512;
  c.num_layers = 3;
  c.hidden_size = 64;
  c.num_heads = 4;
  c.intermediate_size = 192;
  return c;
}

std::unique_ptr<ModelTensors> initial(const ModelConfig& c, std::uint64_t seed) {
  auto weights = std::make_unique<ModelTensors>(host_memory(), c, "weights");
  initialise(*weights, c, seed, cpu());
  return weights;
}

/// Moments of a standard normal cut at 3: with density phi and Z = P(|x| < 3), the variance is
/// 1 - 6 phi(3) / Z, the fourth moment 3 variance - 54 phi(3) / Z.
struct Cut {
  double variance, fourth;
};
Cut cut_normal() {
  const double phi = std::exp(-4.5) / std::sqrt(2 * std::numbers::pi);
  const double z = std::erf(3 / std::numbers::sqrt2);
  const double variance = 1 - 6 * phi / z;
  return {variance, 3 * variance - 54 * phi / z};
}

TEST(Initialise, SigmasAreLladas) {
  const ModelConfig c = config();
  const auto weights = initial(c, 1);
  const auto [variance, fourth] = cut_normal();
  for (const NamedWeight& w : weights->named()) {
    const std::vector<float> x = elements(w.tensor);
    if (w.kind() == WeightKind::norm) {
      for (const float v : x) ASSERT_EQ(v, 1) << w.name;
      continue;
    }
    double sigma = 1 / std::sqrt(64.0);
    if (w.name.ends_with("attn_out.weight")) sigma = 1 / std::sqrt(2 * (w.block + 1) * 64.0);
    if (w.block >= 0 && w.name.ends_with("ff_out.weight"))
      sigma = 1 / std::sqrt(2 * (w.block + 1) * 192.0);
    double sum = 0, squares = 0, largest = 0;
    for (const float v : x) {
      const double z = double(v) / sigma;
      sum += z;
      squares += z * z;
      largest = std::max(largest, std::abs(z));
    }
    // Five standard errors: a chance of 6e-7 each.
    const double n = double(x.size());
    EXPECT_NEAR(sum / n, 0, 5 * std::sqrt(variance / n)) << w.name;
    EXPECT_NEAR(squares / n, variance, 5 * std::sqrt((fourth - variance * variance) / n)) << w.name;
    EXPECT_LE(largest, 3 * (1 + kUnit)) << w.name;
    // P(all of n within z) = (P(|x| < z) / P(|x| < 3))^n: 2.5 is passed by all n >= 4096 but for
    // a chance of 1e-17.
    EXPECT_GE(largest, 2.5) << w.name;
  }
}

// Without a redraw at all 0.27 % would lie beyond the cut, and with clamping on it.
TEST(Initialise, BeyondTheCutIsDrawnAgain) {
  const auto weights = initial(config(), 1);
  const double cut = 3 / std::sqrt(64.0);
  int at_cut = 0;
  double outer = 0;
  for (const float v : elements(weights->embedding)) {
    at_cut += std::abs(double(v)) >= cut;
    outer += std::abs(double(v)) >= cut * 2 / 3;
  }
  EXPECT_EQ(at_cut, 0);
  const double within2 = std::erf(std::numbers::sqrt2), z = std::erf(3 / std::numbers::sqrt2);
  const double share = (z - within2) / z, n = 512 * 64;
  EXPECT_NEAR(outer / n, share, 5 * std::sqrt(share * (1 - share) / n));
}

TEST(Initialise, DependsOnTheSeedAndTheElementAlone) {
  const auto weights = initial(config(), 1);
  EXPECT_TRUE(same_bits(weights->flat(), initial(config(), 1)->flat()));
  EXPECT_GT(relative_error(weights->flat(), initial(config(), 2)->flat()), 0.5);
  // Rows that a larger vocabulary adds leave those before them as they were.
  ModelConfig larger = config();
  larger.vocab_size = 515;
  const auto more = initial(larger, 1);
  EXPECT_TRUE(same_bits(more->embedding.row_range(0, 512), weights->embedding));
  EXPECT_TRUE(same_bits(more->blocks[1].gate_up, weights->blocks[1].gate_up));
}

TEST(Initialise, TensorsAreIndependent) {
  const auto weights = initial(config(), 1);
  const std::vector<NamedWeight>& named = weights->named();
  for (std::size_t i = 0; i < named.size(); ++i)
    for (std::size_t j = i + 1; j < named.size(); ++j) {
      if (named[i].kind() == WeightKind::norm || named[j].kind() == WeightKind::norm) continue;
      const std::int64_t n = std::min(named[i].tensor.count(), named[j].tensor.count());
      double xy = 0, xx = 0, yy = 0;
      for (std::int64_t e = 0; e < n; ++e) {
        const double x = double(named[i].tensor.as<float>()[e]);
        const double y = double(named[j].tensor.as<float>()[e]);
        xy += x * y;
        xx += x * x;
        yy += y * y;
      }
      // A correlation of n pairs has the standard error 1 / sqrt(n); six of them for 190 pairs.
      EXPECT_LT(std::abs(xy) / std::sqrt(xx * yy), 6 / std::sqrt(double(n)))
          << named[i].name << " and " << named[j].name;
    }
}

}  // namespace
}  // namespace lacuna
