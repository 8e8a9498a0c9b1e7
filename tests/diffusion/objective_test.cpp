#include "diffusion/objective.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/diffusion/golden_loss.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

/// A case of scripts/golden/objective.py.
class GoldenObjective : public GoldenLoss {
 protected:
  GoldenObjective() : GoldenLoss("objective_") {}
  /// Sequences [first, first + count) of the batch.
  LossBatch batch(std::int64_t first, std::int64_t count) {
    return make_noisy_batch(options_, golden_["clean"].row_range(first, count), number("length"),
                            number("first_sample") + first, number("sequences_in_step"));
  }
  std::int64_t sequences() const { return golden_["clean"].rows(); }
};

TEST_P(GoldenObjective, NoiseIsThatOfTheSecondImplementation) {
  const LossBatch noisy = batch(0, sequences());
  if (causal_) {  // nothing is drawn
    EXPECT_EQ(noisy.p, std::vector<float>(std::size_t(sequences()), 1.0f));
    return;
  }
  ASSERT_NO_FATAL_FAILURE(expect_masked(noisy));
  const Tensor p = golden_["p"];
  for (std::int64_t b = 0; b < p.count(); ++b)
    EXPECT_EQ(noisy.p[std::size_t(b)], p.as<float>()[b]) << b;
}

TEST_P(GoldenObjective, LossAndGradients) {
  ObjectiveRunner runner(cpu(), config_, weights_, sequences(), number("length"), true);
  const LossBatch noisy = batch(0, sequences());
  EXPECT_NEAR(runner.loss(noisy), loss(), loss() * tolerance(forward()));
  EXPECT_EQ(runner.loss_and_gradients(noisy, gradients_), runner.loss(noisy));
  expect_row_losses(runner);
  expect_gradients();
}

TEST_P(GoldenObjective, MicroBatchesAddUp) {
  ObjectiveRunner runner(cpu(), config_, weights_, 3, number("length"), true);
  double sum = 0;
  for (std::int64_t at = 0; at < sequences(); at += 3)
    sum += runner.loss_and_gradients(batch(at, std::min<std::int64_t>(3, sequences() - at)),
                                     gradients_);
  EXPECT_NEAR(sum, loss(), loss() * tolerance(forward()));
  expect_gradients();
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenObjective, ::testing::Values("diffusion", "autoregressive"));

ModelConfig small_config(bool causal) {
  ModelConfig c = tiny_config(causal);
  c.mask_token = c.vocab_size - 1;
  return c;
}
NoiseOptions options_for(const ModelConfig& c) {
  NoiseOptions options;
  options.objective =
      c.attention == Attention::causal ? Objective::autoregressive : Objective::masked_diffusion;
  options.mask_token = std::int32_t(c.mask_token);
  return options;
}
std::vector<std::int32_t> random_tokens(std::int64_t count, std::int64_t vocab_size) {
  const CounterRng rng{5, Purpose::benchmark};
  std::vector<std::int32_t> tokens;
  for (std::int64_t i = 0; i < count; ++i)
    tokens.push_back(std::int32_t(rng.below(std::uint64_t(vocab_size), std::uint32_t(i))));
  return tokens;
}

TEST(Objective, NothingMaskedIsNoLossAndNoGradient) {
  const ModelConfig config = small_config(false);
  ModelTensors weights(cpu().memory(), config, "weights");
  ModelTensors gradients(cpu().memory(), config, "gradients");
  randomise(weights, 1);
  std::vector<std::int32_t> tokens = random_tokens(16, config.vocab_size - 1);
  const std::vector<float> rarely(2, mask_probability(0, 0));
  const LossBatch batch =
      make_noisy_batch(options_for(config), Tensor(tokens.data(), {2, 8}), 8, 0, 2, rarely);
  ASSERT_TRUE(batch.rows.empty());
  ObjectiveRunner runner(cpu(), config, weights, 2, 8, true);
  EXPECT_EQ(runner.loss(batch), 0);
  EXPECT_EQ(runner.loss_and_gradients(batch, gradients), 0);
  EXPECT_EQ(norm(gradients.flat()), 0);
  EXPECT_TRUE(runner.row_losses().empty());
  // And in one sequence only, beside others that have something.
  const LossBatch mixed = make_noisy_batch(options_for(config), Tensor(tokens.data(), {2, 8}), 8, 0,
                                           2, {mask_probability(0, 0), 1.0f});
  EXPECT_EQ(mixed.rows.size(), 8u);
  EXPECT_GT(runner.loss_and_gradients(mixed, gradients), 0);
  EXPECT_GT(norm(gradients.flat()), 0);
}

TEST(Objective, LimitsAreNamed) {
  const ModelConfig config = small_config(false);
  const ModelTensors weights(cpu().memory(), config, "weights");
  ModelTensors gradients(cpu().memory(), config, "gradients");
  ObjectiveRunner runner(cpu(), config, weights, 1, 8, false);
  std::vector<std::int32_t> tokens = random_tokens(16, config.vocab_size - 1);
  const LossBatch batch =
      make_noisy_batch(options_for(config), Tensor(tokens.data(), {2, 8}), 8, 0, 2);
  EXPECT_TRUE(contains(error_of([&] { runner.loss(batch); }), "2 x 8 tokens"));
  EXPECT_TRUE(contains(error_of([&] { runner.loss_and_gradients(batch, gradients); }), "training"));
}

/// The least loss that one distribution for all rows can reach: their targets' entropy, weighted.
double context_free_loss(const LossBatch& batch) {
  std::map<std::int32_t, double> share;
  double sum = 0, loss = 0;
  for (std::size_t m = 0; m < batch.rows.size(); ++m) {
    share[batch.targets[m]] += batch.weights[m];
    sum += batch.weights[m];
  }
  for (const auto& [target, weight] : share) loss -= weight * std::log(weight / sum);
  return loss;
}

class Overfit : public ::testing::TestWithParam<bool> {};

// A twentieth of what any model that ignores the context pays can only be reached by learning the
// batch by heart: the gradients lead downhill, all the way.
TEST_P(Overfit, ATinyModelLearnsABatchByHeart) {
  const ModelConfig config = small_config(GetParam());
  const std::int64_t B = 6, T = 16;
  ModelTensors weights(cpu().memory(), config, "weights");
  ModelTensors gradients(cpu().memory(), config, "gradients");
  ModelTensors first(cpu().memory(), config, "moments"), second(cpu().memory(), config, "moments");
  initialise(weights, config, 1, cpu());
  std::vector<std::int32_t> tokens = random_tokens(B * T, config.vocab_size - 1);
  for (std::int64_t b = 0; b < B; ++b) tokens[std::size_t(b * T)] = std::int32_t(b);
  // Half of each sequence is masked, so that something tells the sequences apart.
  const LossBatch batch =
      make_noisy_batch(options_for(config), Tensor(tokens.data(), {B, T}), T, 0, B,
                       GetParam() ? std::vector<float>{} : std::vector<float>(B, 0.5f));
  ObjectiveRunner runner(cpu(), config, weights, B, T, true);
  float one = 1;
  const Tensor scale(&one, {1});
  for (int step = 1; step <= 300; ++step) {
    cpu().fill(gradients.flat(), 0);
    runner.loss_and_gradients(batch, gradients);
    cpu().adamw({{weights.flat(), first.flat(), second.flat(), gradients.flat()}}, scale,
                {1e-2, 0.9, 0.95, 1e-8, 0, step});
  }
  EXPECT_LT(runner.loss(batch), context_free_loss(batch) / 20);
}

INSTANTIATE_TEST_SUITE_P(Attention, Overfit, ::testing::Bool(),
                         [](const auto& p) { return p.param ? "Causal" : "Full"; });

}  // namespace
}  // namespace lacuna
