#include "model/head.h"

#include "tests/model/support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

class Heads : public ::testing::TestWithParam<std::int64_t> {
 protected:
  static constexpr std::int64_t M = 11, C = 24, V = 29;
  Heads() : config_(tiny_config()), weights_(cpu().memory(), config_, "weights") {
    randomise(weights_, 3);
    const CounterRng rng{4, Purpose::benchmark};
    for (std::uint32_t i = 0; i < M * C; ++i) hidden_.push_back(float(rng.normal_pair(i)[0]));
    for (std::uint32_t m = 0; m < M; ++m) {
      targets_.push_back(std::int32_t(rng.below(V, 5000 + m)));
      row_weights_.push_back(rng.uniform(30000 + m));
    }
  }
  Tensor hidden() { return view(hidden_).reshaped({M, C}); }

  ModelConfig config_;
  ModelTensors weights_;
  std::vector<float> hidden_, row_weights_;
  std::vector<std::int32_t> targets_;
};

// In f64, from the definition.
TEST_P(Heads, LossAndGradient) {
  std::vector<double> losses(M), d_hidden(M * C), d_head(V * C);
  const float* w = weights_.head.as<float>();
  for (std::int64_t m = 0; m < M; ++m) {
    std::vector<double> logits(V);
    double sum = 0;
    for (std::int64_t v = 0; v < V; ++v) {
      for (std::int64_t c = 0; c < C; ++c)
        logits[std::size_t(v)] += double(hidden_[std::size_t(m * C + c)]) * double(w[v * C + c]);
      sum += std::exp(logits[std::size_t(v)]);
    }
    const auto target = std::size_t(targets_[std::size_t(m)]);
    losses[std::size_t(m)] = std::log(sum) - logits[target];
    for (std::int64_t v = 0; v < V; ++v) {
      const double p = std::exp(logits[std::size_t(v)]) / sum;
      const double d =
          double(row_weights_[std::size_t(m)]) * (p - (std::size_t(v) == target ? 1 : 0));
      for (std::int64_t c = 0; c < C; ++c) {
        d_hidden[std::size_t(m * C + c)] += d * double(w[v * C + c]);
        d_head[std::size_t(v * C + c)] += d * double(hidden_[std::size_t(m * C + c)]);
      }
    }
  }
  Head head(cpu(), config_, weights_, GetParam());
  std::vector<float> found(M), only_loss(M), found_d_head(V * C, 0.0f), apart(M * C);
  head.loss(view(only_loss), hidden(), view(targets_));
  head.loss_and_gradient(view(found), view(apart).reshaped({M, C}),
                         view(found_d_head).reshaped({V, C}), hidden(), view(targets_),
                         view(row_weights_));
  // Two products in a row, of sums of at most 29 terms.
  const double tolerance = 4 * 2 * (std::sqrt(29.0) + 4) * kUnit;
  EXPECT_LT(relative_error(view(found), view(losses)), tolerance);
  EXPECT_LT(relative_error(view(only_loss), view(losses)), tolerance);
  EXPECT_LT(relative_error(view(apart), view(d_hidden)), tolerance);
  EXPECT_LT(relative_error(view(found_d_head), view(d_head)), tolerance);

  // Gradients of the hidden states in their own memory; those of the head are added up.
  head.loss_and_gradient(view(found), hidden(), view(found_d_head).reshaped({V, C}), hidden(),
                         view(targets_), view(row_weights_));
  EXPECT_TRUE(same_bits(view(hidden_), view(apart)));
  for (double& d : d_head) d *= 2;
  EXPECT_LT(relative_error(view(found_d_head), view(d_head)), tolerance);
}

TEST_P(Heads, NoRows) {
  Head head(cpu(), config_, weights_, GetParam());
  std::vector<float> none, d_head(V * C, 0.5f);
  const Tensor empty(static_cast<float*>(nullptr), {0, C});
  const std::vector<std::int32_t> no_targets;
  head.loss_and_gradient(view(none), empty, view(d_head).reshaped({V, C}), empty, view(no_targets),
                         view(none));
  for (const float d : d_head) EXPECT_EQ(d, 0.5f);
}

INSTANTIATE_TEST_SUITE_P(Chunks, Heads, ::testing::Values(1, 3, 4, 11, 64));

TEST(HeadLogits, TwoBuffers) {
  Tiny tiny(tiny_config(), {5, 3}, {2, 6, 7});
  const Tensor hidden = tiny.forward();
  Head head(cpu(), tiny.config, *tiny.weights, 3);
  const Tensor first = head.logits(hidden), second = head.second_logits(hidden);
  EXPECT_NE(first.data, second.data);
  EXPECT_EQ(first.shape, (Shape{3, 29}));
  EXPECT_TRUE(same_bits(first, second));
  Head small(cpu(), tiny.config, *tiny.weights, 2);
  EXPECT_TRUE(contains(error_of([&] { small.logits(hidden); }), "logits of 3 rows"));
  EXPECT_TRUE(contains(error_of([&] { Head(cpu(), tiny.config, *tiny.weights, 0); }), "0 rows"));
}

}  // namespace
}  // namespace lacuna
