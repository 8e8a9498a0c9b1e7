#include "training/gradient_noise.h"

#include <cmath>
#include <string>
#include <vector>

#include "core/philox.h"
#include "tests/training/support.h"
#include "training/task.h"

namespace lacuna {
namespace {

using testing::error_of;
using testing::json_lines;
using testing::TinyRun;

double squared(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += v * v;
  return sum;
}

// Samples' gradients are normal around G with variance v in each of d dimensions, so that |G|^2 and
// tr S = d v are known. Parts of equal and of unequal sizes, some of the batch or all of it.
TEST(GradientNoise, EstimatesAreUnbiased) {
  constexpr int d = 5, batch = 12, steps = 4000;
  const double G[d] = {0.3, -0.2, 0.1, 0.4, 0}, v = 0.5;
  const double square = 0.09 + 0.04 + 0.01 + 0.16, trace = d * v;
  for (const std::vector<int>& sizes : {std::vector<int>{6}, {3, 3, 3, 3}, {1, 2, 4}}) {
    double mean_square = 0, mean_trace = 0;
    for (int step = 0; step < steps; ++step) {
      const CounterRng rng{17, Purpose::benchmark, std::uint64_t(step)};
      std::vector<double> whole(d), part(d);
      double parts = 0, counts = 0, counts_squared = 0;
      std::size_t p = 0;
      int in_part = 0;
      for (int i = 0; i < batch; ++i) {
        for (int k = 0; k < d; ++k) {
          const double g = (G[k] + std::sqrt(v) * rng.normal_pair(std::uint32_t(i * d + k))[0]);
          whole[std::size_t(k)] += g / batch;
          part[std::size_t(k)] += g / batch;
        }
        if (p < sizes.size() && ++in_part == sizes[p]) {
          parts += squared(part);
          counts += in_part;
          counts_squared += in_part * in_part;
          part.assign(d, 0);
          in_part = 0;
          ++p;
        }
      }
      const GradientNoise noise =
          estimated_gradient_noise(parts, counts, counts_squared, squared(whole), batch);
      mean_square += noise.squared_norm / steps;
      mean_trace += noise.variance / steps;
    }
    EXPECT_NEAR(mean_square, square, 0.05) << sizes.size();
    EXPECT_NEAR(mean_trace, trace, 0.12) << sizes.size();
  }
}

TEST(GradientNoise, OfExactNorms) {
  // |G|^2 = 2, tr S = 12: a part of 2 of 8 samples, scaled by 2/8, has (2/8)^2 (2 + 12 / 2).
  const GradientNoise noise = estimated_gradient_noise(0.5, 2, 4, 2 + 12.0 / 8, 8);
  EXPECT_DOUBLE_EQ(noise.squared_norm, 2);
  EXPECT_DOUBLE_EQ(noise.variance, 12);
  EXPECT_DOUBLE_EQ(noise.scale(), 6);
  EXPECT_TRUE(std::isnan(estimated_gradient_noise(1, 8, 64, 1, 8).variance));
  EXPECT_TRUE(std::isnan((GradientNoise{.squared_norm = -1, .variance = 1}.scale())));
}

// The part is the first micro-batch's gradients; the run itself does not change.
TEST(GradientNoise, OfARunIsThatOfItsFirstMicroBatch) {
  TinyRun run;
  run.config.train.steps = 4;
  run.config.train.log_every = 2;
  run.config.train.log_gradient_noise = true;
  const Config noisy = run.in("noisy");
  const TrainerOptions options{.resume = false, .trace = {}, .matmul_peak = 1e9};
  Trainer trainer(noisy, run.ops, options);
  run.config.train.log_gradient_noise = false;
  Trainer plain(run.in("plain"), run.ops, options);
  for (int step = 1; step <= 4; ++step) {
    // The gradients of samples 0 and 1 of the step's four, with the weights before it.
    const TrainingData data(noisy);
    SelfCommunicator world;
    const Task task = pretrain_task(data, world);
    ModelTensors gradients(run.ops.memory(), data.config.model, "gradients");
    GradientAccumulator part(run.ops, data.config, trainer.weights(), task, {0, 2});
    part.run(trainer.state().step, trainer.state().samples, gradients);
    double squares = 0;
    const Tensor flat = gradients.flat();
    for (std::int64_t i = 0; i < flat.count(); ++i)
      squares += double(flat.as<float>()[i]) * double(flat.as<float>()[i]);
    const StepResult result = trainer.step(), same = plain.step();
    EXPECT_EQ(result.loss, same.loss);
    EXPECT_EQ(result.grad_norm, same.grad_norm);
    EXPECT_TRUE(same.figures.empty());
    ASSERT_EQ(result.figures.size(), step % 2 == 0 ? 3u : 0u);
    if (step % 2 != 0) continue;
    const GradientNoise expected =
        estimated_gradient_noise(squares, 2, 4, result.grad_norm * result.grad_norm, 4);
    EXPECT_NEAR(result.figures[1].value, expected.variance, 1e-6 * expected.variance);
    EXPECT_NEAR(result.figures[2].value, expected.squared_norm,
                1e-6 * std::abs(expected.squared_norm));
  }
  EXPECT_TRUE(testing::same_bits(trainer.weights(), plain.weights()));
}

TEST(GradientNoise, IsInTheMetrics) {
  TinyRun run;
  run.config.train.steps = 2;
  run.config.train.log_gradient_noise = true;
  Trainer(run.config, run.ops, {.resume = false, .trace = {}, .matmul_peak = 1e9}).run();
  const auto line = json_lines(run.output("metrics.jsonl"))[0];
  for (const char* name : {"gradient_noise_scale", "gradient_variance", "gradient_squared_norm"})
    EXPECT_TRUE(line.contains(name)) << name;
}

TEST(GradientNoise, NeedsSeveralParts) {
  TinyRun run;
  run.config.train.log_gradient_noise = true;
  run.config.train.micro_batch_size = 4;
  EXPECT_EQ(error_of<UsageError>([&] {
              Trainer(run.config, run.ops, {.resume = false, .trace = {}, .matmul_peak = 1e9});
            }),
            "train.log_gradient_noise = true compares a part of the batch with all of it, but "
            "train.micro_batch_size = 4 takes all of train.batch_size = 4; halve "
            "train.micro_batch_size");
}

}  // namespace
}  // namespace lacuna
