#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>

#include "kernels/cpu/cpu_ops.h"
#include "tests/support/counting_memory.h"
#include "training/run_plan.h"
#include "training/trainer.h"

namespace lacuna::testing {

/// Counts what is allocated.
class CountedOps final : public CpuOps {
 public:
  CountedOps() : CpuOps(1) {}
  Memory& memory() override { return counted; }
  CountingMemory counted{Place::host};
};

/// The plan of a config, which is what a trainer allocates, but for the optimizer's few sums.
/// `most`: the largest of what each of `ranks` ranks has.
inline RunPlan expect_planned(
    const Config& config, TrainerOptions options, RunTask task, int ranks = 1,
    const std::function<double(double)>& most = [](double bytes) { return bytes; }) {
  CountedOps ops;
  options.bucket_bytes = 0;
  const Trainer trainer(config, ops, options);
  const double allocated = most(double(ops.counted.allocated));
  const RunPlan plan = plan_run(trainer.config(), ranks, task);
  EXPECT_EQ(plan.trained, trainer.weights().parameters());
  EXPECT_LE(double(plan.memory.total()), allocated);
  EXPECT_GE(double(plan.memory.total()), allocated - 1024);
  return plan;
}

}  // namespace lacuna::testing
