// Steps on a device, whose losses and norm the host reads while the device computes the next step.
#include "training/step_readback.h"

#include <cmath>
#include <limits>

#include "checkpoint/checkpoint.h"
#include "core/tensor_of.h"
#include "kernels/cuda/cuda_ops.h"
#include "tests/training/support.h"
#include "training/trainer.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct StepsOnADevice : ::testing::Test {
  StepsOnADevice() {
    run.config.compute.device = DeviceKind::cuda_emulated;
    run.config.data.validation.clear();
    run.config.train.steps = 6;
    run.config.train.checkpoint_every = 0;
    run.config.train.eval_every = 0;
    run.config.train.log_every = 1;
  }
  Trainer trainer(const std::string& folder) {
    return Trainer(run.in(folder), device, {.resume = false, .trace = {}, .matmul_peak = 1e9});
  }
  /// What a weight was; it becomes `value`.
  float exchange(const Trainer& trainer, float value) {
    const Tensor weight = trainer.weights().final_norm.row_range(3, 1);
    float before = 0;
    device.copy(Tensor(&before, {1}), weight);
    device.copy(weight, Tensor(&value, {1}));
    device.synchronize();
    return before;
  }
  CudaOps device;
  TinyRun run;
};

// As losses are that are waited for: the last is read, and a step that is skipped has its own line.
TEST_F(StepsOnADevice, AreLoggedWithTheirOwnFigures) {
  Trainer waiting = trainer("waiting"), late = trainer("late");
  float weight = 0;
  const auto damage = [&](Trainer& t, std::int64_t step) {
    if (step == 3) weight = exchange(t, kNan);
    if (step == 4) exchange(t, weight);
  };
  std::vector<StepResult> expected;
  for (int step = 1; step <= 6; ++step) {
    expected.push_back(waiting.step());
    damage(waiting, step);
  }
  int asked = 0;
  late.run([&] {
    damage(late, ++asked);
    return false;
  });
  const auto lines = json_lines(late.config().train.output + "/metrics.jsonl");
  std::int64_t bad = 0;
  std::size_t at = 0;
  for (const auto& line : lines) {
    if (!line.contains("loss")) continue;
    ASSERT_LT(at, expected.size());
    const StepResult& e = expected[at++];
    bad += e.skipped;
    EXPECT_EQ(line["step"], at);
    EXPECT_EQ(line["bad_steps"], bad);
    EXPECT_EQ(e.skipped, at == 4);
    if (e.skipped) continue;  // null: not a number
    EXPECT_EQ(line["loss"], e.loss);
    EXPECT_EQ(line["grad_norm"], e.grad_norm);
  }
  EXPECT_EQ(at, 6u);
  EXPECT_EQ(late.state().bad_steps, 1);
  EXPECT_EQ(late.state().tokens, waiting.state().tokens);
  const auto bits = [&](const Trainer& t) {
    std::vector<float> values(std::size_t(t.weights().flat().count()));
    device.copy(Tensor(values.data(), t.weights().flat().shape), t.weights().flat());
    device.synchronize();
    return values;
  };
  EXPECT_EQ(bits(waiting), bits(late));
}

// The step that asks for an end is found to be a bad one before anything is saved.
TEST_F(StepsOnADevice, AreReadBeforeTheRunStops) {
  Trainer t = trainer("stopped");
  float weight = 0;
  int asked = 0;
  const TrainResult result = t.run([&] {
    ++asked;
    if (asked == 2) weight = exchange(t, kNan);
    if (asked == 3) exchange(t, weight);
    return asked == 3;
  });
  EXPECT_TRUE(result.stopped);
  EXPECT_EQ(result.step, 4);
  EXPECT_EQ(t.state().bad_steps, 1);
  EXPECT_EQ(result.checkpoint, checkpoint_path(t.config().train.output, 4));
}

TEST_F(StepsOnADevice, EndTheRunWhenTooManyAreBad) {
  run.config.train.steps = 50;
  run.config.train.max_bad_steps = 3;
  Trainer t = trainer("bad");
  int asked = 0;
  const std::string error = error_of([&] {
    t.run([&] {
      if (++asked == 2) exchange(t, kNan);
      return false;
    });
  });
  EXPECT_TRUE(contains(error, "not finite in 3 steps in a row, the last being step 5 ")) << error;
  EXPECT_EQ(t.state().bad_steps, 3);
}

// Though every gradient is finite.
TEST_F(StepsOnADevice, WithALossThatIsNotFiniteUpdateNothing) {
  Plan plan;
  const Slot losses = plan.add("test/losses", {3}), gradients = plan.add("test/gradients", {2});
  const Arena arena(device.memory(), plan);
  const auto steps = StepReadback::make(device, 2);
  StepReadback& step = *steps[1];
  GradientNorm norm(device, 1, "test");
  const std::vector<float> g = {3, 4};
  device.copy(arena[gradients], tensor_of(g));
  for (const float loss : {2.0f, std::numeric_limits<float>::infinity(), kNan, 3e38f}) {
    step.begin();
    for (const float last : {1.0f, loss, 1.0f}) {  // three micro-batches
      const std::vector<float> values = {1, 7, last};
      device.copy(arena[losses], tensor_of(values));
      step.add({arena[losses], {0.5, 0.25}, {0, 2}});
    }
    step.add({});
    norm.measure({arena[gradients]}, 1, nullptr, step.check());
    step.end(norm.squares(), norm.scale());
    step.wait();
    EXPECT_EQ(step.gradient_norm(), 5);
    EXPECT_EQ(step.updated(), std::isfinite(loss)) << loss;
    EXPECT_EQ(norm.is_finite(), std::isfinite(loss));
    if (!std::isfinite(loss)) continue;
    EXPECT_EQ(step.loss(), 3 * 0.5 + 2 * 0.25 + 0.25 * double(loss));
  }
}

}  // namespace
}  // namespace lacuna
