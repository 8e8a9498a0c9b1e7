// Gradients of a step in bf16 (optimizer.gradients_dtype).
#include <cmath>

#include "core/half.h"
#include "kernels/cuda/cuda_ops.h"
#include "tests/training/support.h"
#include "training/run_plan.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

struct Bf16Gradients : ::testing::Test {
  Bf16Gradients() { run.config.optimizer.gradients_dtype = Precision::bf16; }
  TrainerOptions options(bool resume = false) const {
    return {.resume = resume, .trace = {}, .matmul_peak = 1e9};
  }
  Config exact(const std::string& folder) const {
    Config config = run.in(folder);
    config.optimizer.gradients_dtype = Precision::f32;
    return config;
  }
  static float element(const Tensor& t, std::int64_t i) {
    return t.dtype == DType::bf16 ? to_float(t.as<BFloat16>()[i]) : t.as<float>()[i];
  }
  TinyRun run;
};

// Of one micro-batch each is one of the two bf16 numbers beside it, less than 2^-7 of it away; some
// are the farther one, which rounding to nearest would not choose.
TEST_F(Bf16Gradients, OfOneMicroBatchAreRoundedOnce) {
  run.config.train.micro_batch_size = run.config.train.batch_size;
  Trainer trainer(run.config, run.ops, options()), reference(exact("exact"), run.ops, options());
  EXPECT_EQ(trainer.step().loss, reference.step().loss);
  std::int64_t rounded = 0, farther = 0;
  const auto &mine = trainer.reduced_gradients().pieces(),
             &all = reference.reduced_gradients().pieces();
  ASSERT_EQ(trainer.reduced_gradients().dtype(), DType::bf16);
  ASSERT_EQ(mine.size(), all.size());
  for (std::size_t p = 0; p < all.size(); ++p)
    for (std::int64_t i = 0; i < all[p].values.count(); ++i) {
      const float found = element(mine[p].values, i), expected = element(all[p].values, i);
      ASSERT_LE(std::abs(found - expected), 0x1p-7f * std::abs(expected)) << p << ' ' << i;
      rounded += found != expected;
      farther += found != to_float(to_bf16(expected));
    }
  EXPECT_GT(farther, rounded / 8);  // of distances that are uniform a quarter is
  EXPECT_LT(farther, rounded / 2);
}

// Of several: each addition is off by less than 2^-7 of the sum so far. Over all elements the
// errors' norm is below 2^-7 of the gradient's, as is that of each of two roundings' variance.
TEST_F(Bf16Gradients, TrainAsF32GradientsDo) {
  run.config.train.micro_batch_size = 1;
  Trainer trainer(run.config, run.ops, options()), reference(exact("exact"), run.ops, options());
  for (int step = 0; step < 10; ++step) {
    const StepResult found = trainer.step(), expected = reference.step();
    EXPECT_NEAR(found.loss, expected.loss, 0.02 * expected.loss) << step;
    EXPECT_NEAR(found.grad_norm, expected.grad_norm, 0.05 * expected.grad_norm) << step;
  }
}

TEST_F(Bf16Gradients, AResumedRunHasTheSameBits) {
  Config whole = run.in("whole"), parts = run.in("parts");
  Trainer first(whole, run.ops, options());
  first.run();
  {
    Trainer trainer(parts, run.ops, options());
    int calls = 0;
    trainer.run([&] { return ++calls == 4; });
  }
  Trainer again(parts, run.ops, options(true));
  EXPECT_EQ(again.state().step, 4);
  again.run();
  EXPECT_TRUE(same_bits(first.weights(), again.weights()));
}

// Also where the optimizer's states are in main memory.
TEST_F(Bf16Gradients, EmulatedGpusTrainAlike) {
  std::vector<double> first;
  for (const bool offload : {false, true}) {
    CudaOps ops;
    Config config = run.in(offload ? "offloaded" : "device");
    config.compute.device = DeviceKind::cuda_emulated;
    config.optimizer.cpu_offload = offload;
    TrainerOptions on_device = options();
    on_device.host = &run.ops;
    Trainer trainer(config, ops, on_device),
        reference(run.in(offload ? "again" : "host"), run.ops, options());
    std::vector<double> losses;
    for (int step = 0; step < 3; ++step) {
      const StepResult found = trainer.step(), expected = reference.step();
      EXPECT_NEAR(found.loss, expected.loss, 1e-3 * expected.loss) << step;
      EXPECT_NEAR(found.grad_norm, expected.grad_norm, 0.02 * expected.grad_norm) << step;
      losses.push_back(found.loss);
    }
    for (std::size_t i = 0; i < first.size(); ++i)
      EXPECT_NEAR(losses[i], first[i], 1e-4 * first[i]);
    first = losses;
  }
}

TEST_F(Bf16Gradients, MicroBatchNumbersHaveTwentyBits) {
  run.config.train.batch_size = (1 << 20) + 2;
  EXPECT_TRUE(contains(error_of([&] { validate(run.config); }), "at most 1048576"));
  run.config.optimizer.gradients_dtype = Precision::f32;
  EXPECT_EQ(error_of([&] { validate(run.config); }), "");
}

}  // namespace
}  // namespace lacuna
