// Adapters on every layout of ranks, compared with the same run alone.
#include <gtest/gtest.h>

#include "tests/data/support.h"
#include "tests/training/parallel_support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

class AdapterLayouts : public ::testing::Test {
 protected:
  AdapterLayouts() {
    Config& c = run_.config;
    c.model.mask_token = kMask;
    c.model.eos_token = kEnd;
    c.lora.rank = 3;
    c.lora.alpha = 6;
    c.lora.targets = {"q_proj", "k_proj", "v_proj", "attn_out", "ff_proj", "up_proj", "ff_out"};
    c.train.checkpoint_every = 0;
    c.train.eval_every = 0;
    c.train.init = run_.path("base");
  }
  /// Writes the model that is adapted.
  void write_base() {
    if (world_->rank() == 0) {
      Config base = run_.config;
      base.lora.rank = 0;
      base.train.init.clear();
      base.train.output = run_.config.train.init;
      base.train.steps = 2;
      Trainer(base, run_.ops, {.resume = false, .trace = {}, .matmul_peak = 1e9}).run();
    }
    world_->barrier();
  }
  static TrainerOptions of_adapters(DeviceMesh& grid, bool resume = false) {
    TrainerOptions options = on(grid, resume);
    options.trained = Trained::adapters;
    return options;
  }
  Config alone(const Layout& layout) {
    Config c = run_.in(str("alone-", world_->rank(), "-", number_), layout);
    c.parallel = {};
    c.train.micro_batch_size = 2;
    return c;
  }
  void compare_steps(const Layout& layout) {
    SCOPED_TRACE(str(layout));
    Trainer reference(
        alone(layout), run_.ops,
        {.resume = false, .trace = {}, .matmul_peak = 1e9, .trained = Trained::adapters});
    DeviceMesh grid(testing::world(), layout.tensor);
    Trainer trainer(run_.in(str("together-", number_++), layout), run_.ops, of_adapters(grid));
    const auto difference = [&] {
      return relative_difference(held_weights(trainer), trainer.weights(), reference.weights());
    };
    ASSERT_EQ(difference(), 0) << "initial adapters";
    for (int step = 0; step < 3; ++step) {
      const StepResult expected = reference.step(), result = trainer.step();
      EXPECT_NEAR(result.loss, expected.loss, kRounding * expected.loss);
      EXPECT_NEAR(result.grad_norm, expected.grad_norm, kRounding * expected.grad_norm);
      const OptimizerShard& sums = trainer.reduced_gradients();
      // In the first step B is 0, and with it the gradient of A.
      if (step > 0) {
        EXPECT_LE(relative_difference(
                      layout.zero ? sums.pieces_within(parts(trainer, grid)) : sums.pieces(),
                      trainer.weights(), reference.gradients()),
                  10 * kRounding);
      }
    }
    EXPECT_LE(difference(), 1e-3);  // as in parallel_test.cpp
  }

  std::unique_ptr<Communicator> world_ = testing::world();
  SharedRun run_{*world_};
  int number_ = 0;
};

TEST_F(AdapterLayouts, StepsAgreeWithOneRank) {
  write_base();
  for (const Layout& layout : layouts(world_->size(), Trained::adapters)) compare_steps(layout);
  run_.config.lora.targets = {"v_proj", "ff_out"};
  compare_steps(layouts(world_->size(), Trained::adapters).back());
}

TEST_F(AdapterLayouts, QuantisedMatricesAreDividedInBlocks) {
  run_.config.model.hidden_size = run_.config.model.intermediate_size = 128;
  run_.config.lora.base_dtype = BaseDtype::q8_0;
  write_base();
  for (const Layout& layout : layouts(world_->size(), Trained::adapters))
    if (layout.micro_batch == 3) compare_steps(layout);
}

TEST_F(AdapterLayouts, ACheckpointGoesOnInAnyOther) {
  write_base();
  run_.config.train.steps = 4;
  const std::vector<Layout> all = layouts(world_->size(), Trained::adapters);
  const Layout first = all.front(), last = all.back();
  const auto trained = [&](const char* name, const Layout& before, const Layout& after) {
    {
      DeviceMesh grid(testing::world(), before.tensor);
      Trainer half(run_.in(name, before), run_.ops, of_adapters(grid));
      half.run([&] { return half.state().step == 2; });
    }
    DeviceMesh grid(testing::world(), after.tensor);
    Trainer trainer(run_.in(name, after), run_.ops, of_adapters(grid, true));
    EXPECT_EQ(trainer.state().step, 2);
    trainer.run();
    Trainer reference(
        run_.in(str("whole", world_->rank(), name), {1, 0, 2}), run_.ops,
        {.resume = false, .trace = {}, .matmul_peak = 1e9, .trained = Trained::adapters});
    while (reference.state().step < 4) reference.step();
    EXPECT_LE(relative_difference(held_weights(trainer), trainer.weights(), reference.weights()),
              1e-3);
  };
  trained("there", first, last);
  trained("back", last, first);
}

TEST_F(AdapterLayouts, ThePlanCountsWhatIsAllocated) {
  run_.config.model.hidden_size = run_.config.model.intermediate_size = 128;
  write_base();
  for (const Layout& layout : layouts(world_->size(), Trained::adapters))
    for (const BaseDtype base : {BaseDtype::automatic, BaseDtype::f16, BaseDtype::q8_0})
      for (const Precision dtype : {Precision::f32, Precision::bf16}) {
        SCOPED_TRACE(str(layout, ", ", word_of(base), ", ", word_of(dtype)));
        Config config = run_.in(str("planned-", number_++), layout);
        config.lora.base_dtype = base;
        config.compute.dtype = dtype;
        if (number_ % 2) config.train.recompute = {"block"};
        DeviceMesh grid(testing::world(), layout.tensor);
        expect_planned(config, of_adapters(grid));
      }
}

}  // namespace
}  // namespace lacuna
