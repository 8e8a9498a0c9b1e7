#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>

#include "core/arena.h"
#include "kernels/cpu/cpu_ops.h"
#include "training/run_plan.h"
#include "training/trainer.h"

namespace lacuna::testing {

/// Counts what is allocated.
class CountedMemory final : public Memory {
 public:
  Place place() const override { return Place::host; }
  void* allocate(std::int64_t bytes) override {
    held += bytes;
    return host_memory().allocate(bytes);
  }
  void release(void* memory, std::int64_t bytes) noexcept override {
    host_memory().release(memory, bytes);
  }
  std::int64_t held = 0;
};
class CountedOps final : public CpuOps {
 public:
  CountedOps() : CpuOps(1) {}
  Memory& memory() override { return counted; }
  CountedMemory counted;
};

/// The plan of a config, which is what a trainer allocates, but for the optimizer's few sums.
/// `most`: the largest of what each of `ranks` ranks has.
inline RunPlan expect_planned(
    const Config& config, TrainerOptions options, RunTask task, int ranks = 1,
    const std::function<double(double)>& most = [](double bytes) { return bytes; }) {
  CountedOps ops;
  options.bucket_bytes = 0;
  const Trainer trainer(config, ops, options);
  const double allocated = most(double(ops.counted.held));
  const RunPlan plan = plan_run(trainer.config(), ranks, task);
  EXPECT_EQ(plan.trained, trainer.weights().parameters());
  EXPECT_LE(double(plan.memory.total()), allocated);
  EXPECT_GE(double(plan.memory.total()), allocated - 1024);
  return plan;
}

}  // namespace lacuna::testing
