// Training with compute.linear_dtype = "fp8".
#include <limits>

#include "tests/training/support.h"

namespace lacuna::testing {
namespace {

class Fp8Training : public ::testing::Test {
 protected:
  Fp8Training() {
    Config& c = run.config;
    c.model.hidden_size = c.model.intermediate_size = 32;
    c.compute.dtype = Precision::bf16;
    c.compute.linear_dtype = LinearDtype::fp8;
  }
  TinyRun run;
};

/// The scales are of what tensors hold now, so that a checkpoint need not have them.
TEST_F(Fp8Training, ARunGoesOnAsIfNothingHadHappened) {
  Trainer whole(run.in("whole"), run.ops, {.resume = false, .trace = {}, .matmul_peak = 1e9});
  whole.run();
  {
    Trainer first = run.trainer();
    first.run([&] { return first.state().step == 5; });
  }
  Trainer second = run.trainer(true);
  second.run();
  EXPECT_TRUE(same_bits(second.weights(), whole.weights()));
}

TEST_F(Fp8Training, LearnsAsBf16Does) {
  run.config.train.steps = 60;
  run.config.train.checkpoint_every = run.config.train.eval_every = 0;
  const auto last_loss = [&](const std::string& name, LinearDtype type) {
    Config config = run.in(name);
    config.compute.linear_dtype = type;
    Trainer trainer(config, run.ops, {.resume = false, .trace = {}, .matmul_peak = 1e9});
    double first = 0, last = 0;
    for (int step = 0; step < 60; ++step) {
      const double loss = trainer.step().loss;
      (step < 20 ? first : last) += step < 20 || step >= 40 ? loss / 20 : 0;
    }
    EXPECT_LT(last, 0.9 * first);
    return last;
  };
  // The same batches and masks: curves differ by rounding alone.
  const double bf16 = last_loss("bf16", LinearDtype::automatic);
  EXPECT_NEAR(last_loss("fp8", LinearDtype::fp8), bf16, 0.05 * bf16);
}

/// Saturation must not hide it.
TEST_F(Fp8Training, ABadGradientSkipsTheStep) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Config config = run.in(str("bad-", bad));
    Trainer trainer(config, run.ops, {.resume = false, .trace = {}, .matmul_peak = 1e9});
    const Tensor w = trainer.weights().blocks[1].ffn_out;
    run.ops.copy(w.row_range(0, 1).reshaped({w.cols()}).row_range(3, 1),
                 Tensor(const_cast<float*>(&bad), {1}));
    EXPECT_TRUE(trainer.step().skipped);
  }
}

class WithoutFp8 final : public CpuOps {
 public:
  WithoutFp8() : CpuOps(1) {}
  std::string description() const override { return "cuda, A100"; }
  bool has_fp8() const override { return false; }
  Memory& memory() override { throw std::logic_error("something is allocated"); }
};

TEST_F(Fp8Training, AGpuWithoutFp8IsRefusedBeforeAnythingIsAllocated) {
  WithoutFp8 ops;
  EXPECT_EQ(error_of([&] { Trainer(run.config, ops, {.resume = false, .trace = {}}); }),
            "cuda, A100 has no FP8 products: compute.linear_dtype = \"fp8\" needs a GPU of sm_89 "
            "or newer");
}

}  // namespace
}  // namespace lacuna::testing
