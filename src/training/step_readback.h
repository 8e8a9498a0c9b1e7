#pragma once
#include <memory>
#include <vector>

#include "core/arena.h"
#include "diffusion/objective.h"
#include "kernels/deferred_reads.h"
#include "kernels/ops.h"

namespace lacuna {

/// Losses and gradient norm of one step on a device, which the host reads while the device computes
/// the next one; and whether the losses are finite, which the device itself must know by the
/// update.
class StepReadback {
 public:
  /// For the steps of a run on a device, which are read in turn; none on the CPU. Borrows `ops`.
  static std::vector<std::unique_ptr<StepReadback>> make(Ops& ops, int count);

  /// A new step.
  void begin();
  /// Those of its next micro-batch, before anything overwrites them.
  void add(QueuedLosses losses);
  /// f64 [1] on the device: 0, or NaN where a loss so far is not finite.
  Tensor check() const { return (*check_)[Slot{1}]; }
  /// The step's last: the square of its gradient norm, f64 [1], and the update's scale, f32 [1].
  void end(Tensor squares, Tensor scale);

  /// Returns when all that is on the host.
  void wait() { reads_->wait(); }
  /// After wait(): the sum over micro-batches of their weighted sums.
  double loss() const;
  double gradient_norm() const;
  /// Whether the update changed something.
  bool updated() const;

 private:
  StepReadback(Ops& ops, std::shared_ptr<const Arena> check, std::unique_ptr<DeferredReads> reads);

  struct MicroBatch {
    QueuedLosses losses;
    const float* values;
  };

  Ops& ops_;
  const std::shared_ptr<const Arena> check_;  // a step is done with it when the next one begins
  const std::unique_ptr<DeferredReads> reads_;
  std::vector<MicroBatch> micro_batches_;
  const double* squares_ = nullptr;
  const float* scale_ = nullptr;
};

}  // namespace lacuna
