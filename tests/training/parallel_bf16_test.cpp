// Gradients in bf16 (optimizer.gradients_dtype) on every layout.
#include <cmath>

#include "core/half.h"
#include "tests/training/parallel_support.h"

namespace lacuna {
namespace {

using namespace testing;  // NOLINT

class ParallelBf16Gradients : public ::testing::Test {
 protected:
  ParallelBf16Gradients() : world_(testing::world()), run_(*world_) {
    run_.config.optimizer.gradients_dtype = Precision::bf16;
    run_.config.data.validation.clear();
  }
  struct Result {
    std::vector<double> losses, norms;
  };
  Result train(const Config& config, int steps, TrainerOptions options = {}) {
    DeviceMesh grid(testing::world(), int(config.parallel.tensor_parallel));
    options.matmul_peak = 1e9;
    options.grid = &grid;
    options.bucket_bytes = kSmallBuckets;
    Trainer trainer(config, run_.ops, options);
    Result result;
    for (int step = 0; step < steps; ++step) {
      const StepResult one = trainer.step();
      result.losses.push_back(one.loss);
      result.norms.push_back(one.grad_norm);
    }
    return result;
  }
  std::unique_ptr<Communicator> world_;
  SharedRun run_;
  int number_ = 0;
};

// As with f32 gradients, up to a rounding of 2^-8 of each and what that does to updates; and with
// the states sharded, or with the weights beside the gradients, to the last bit as without.
TEST_F(ParallelBf16Gradients, TrainOnEveryLayout) {
  Config alone = run_.in("exact", {});
  alone.optimizer.gradients_dtype = Precision::f32;
  alone.parallel.tensor_parallel = world_->size();
  const Result exact = train(alone, 3);
  const int ranks = world_->size();
  for (const int tensor : {1, 2})
    for (const std::int64_t micro : {1, 3}) {
      if (ranks % tensor != 0) continue;
      std::vector<Result> results;
      for (const std::int64_t zero : {0, 1, 2, 3}) {
        if (zero > 0 && ranks == tensor) continue;
        const Layout layout{tensor, zero, micro, tensor > 1};
        SCOPED_TRACE(str(layout));
        const Result result = train(run_.in(str("layout-", number_++), layout), 3);
        for (std::size_t i = 0; i < 3; ++i) {
          EXPECT_NEAR(result.losses[i], exact.losses[i], 0.01 * exact.losses[i]);
          EXPECT_NEAR(result.norms[i], exact.norms[i], 0.05 * exact.norms[i]);
        }
        results.push_back(result);
      }
      if (results.size() < 4) continue;
      EXPECT_EQ(results[0].losses, results[1].losses);
      EXPECT_EQ(results[2].losses, results[3].losses);
    }
}

// Buckets so small that some lie within the head, whose gradient is complete before that of the
// norm in its unit. Each rank rounds its sums, and their sums are rounded: by 2^-8 each time at
// most.
TEST_F(ParallelBf16Gradients, AreSumsOverRanksInEveryBucket) {
  for (const std::int64_t micro : {1, 3}) {
    DeviceMesh grid(testing::world(), 1);
    TrainerOptions options = on(grid);
    options.bucket_bytes = 1;
    const Config config = run_.in(str("small-buckets-", micro), {1, 0, micro});
    Config exact = run_.in(str("small-buckets-exact-", micro), {1, 0, micro});
    exact.optimizer.gradients_dtype = Precision::f32;
    Trainer rounded(config, run_.ops, options), reference(exact, run_.ops, options);
    rounded.step();
    reference.step();
    const auto &found = rounded.reduced_gradients().pieces(),
               &expected = reference.reduced_gradients().pieces();
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t p = 0; p < found.size(); ++p) {
      double difference = 0, size = 0;
      for (std::int64_t i = 0; i < expected[p].values.count(); ++i) {
        const double e = expected[p].values.as<float>()[i],
                     d = to_float(found[p].values.as<BFloat16>()[i]) - e;
        difference += d * d;
        size += e * e;
      }
      EXPECT_LE(std::sqrt(difference), 0.05 * std::sqrt(size))
          << rounded.weights().named()[found[p].weight].name;
    }
  }
}

TEST_F(ParallelBf16Gradients, ArePlanned) {
  for (const std::int64_t zero : {0, 1, 2, 3}) {
    DeviceMesh grid(testing::world(), 1);
    const RunPlan plan = expect_planned(run_.in(str("planned-", number_), {1, zero, 3}), on(grid));
    Config exact = run_.in(str("planned-exact-", number_++), {1, zero, 3});
    exact.optimizer.gradients_dtype = Precision::f32;
    const double bytes = plan_run(exact, world_->size()).gradient_bytes;
    EXPECT_EQ(plan.gradient_bytes, zero < 2 ? bytes / 2 : bytes);
  }
}

// With every other way to hold what an update needs.
TEST_F(ParallelBf16Gradients, WithOtherOptimizers) {
  const auto compare = [&](const char* name, auto&& change) {
    SCOPED_TRACE(name);
    for (const std::int64_t zero : {0, 2}) {
      if (zero > 0 && world_->size() == 1) continue;
      Config config = run_.in(str(name, zero), {1, zero, 1}),
             exact = run_.in(str(name, "-exact-", zero), {1, zero, 1});
      exact.optimizer.gradients_dtype = Precision::f32;
      change(config);
      change(exact);
      const Result found = train(config, 2), expected = train(exact, 2);
      for (std::size_t i = 0; i < 2; ++i)
        EXPECT_NEAR(found.losses[i], expected.losses[i], 0.01 * expected.losses[i]);
    }
  };
  compare("muon", [](Config& c) { c.optimizer.name = OptimizerName::muon; });
  compare("average", [](Config& c) { c.optimizer.ema_decay = 0.9; });
  compare("noise", [](Config& c) { c.train.log_gradient_noise = true; });
}

}  // namespace
}  // namespace lacuna
