#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "config/config.h"
#include "diffusion/objective.h"
#include "training/data_parallel.h"
#include "training/step_readback.h"
#include "training/task.h"

namespace lacuna {

/// What the forward and backward passes over one step's batch, or over a rank's share of it, gave.
struct BatchResult {
  double loss = 0;                   // nats per token; of a share, what it adds to that
  std::int64_t tokens = 0;           // in the batch, after a random length
  double flops = 0;                  // training_flops()
  double wait_seconds = 0;           // spent on reading data
  std::vector<Figure> figures = {};  // of a share, what it adds to means over the batch
  bool loss_is_queued = false;       // `loss` is not known yet
};

/// Of `count` sequences, those of part `index` of `parts`: nearly equal numbers, in order.
struct SampleRange {
  std::int64_t first = 0, count = 0;
};
SampleRange share_of_samples(std::int64_t count, int index, int parts);

/// Called with each micro-batch after its passes.
using BatchObserver = std::function<void(const LossBatch&)>;

/// Called once, when the gradients are those of the first micro-batch alone: this rank's, or, where
/// each is reduced, the ranks' first ones together, in what they are reduced into.
using FirstGradientsObserver = std::function<void(const LossBatch&)>;

/// Loss and gradients of a rank's share of a step's batch, a micro-batch at a time. The samples,
/// their noise and weights are those of the global batch, so that the sum over micro-batches and
/// ranks does not depend on the cut.
class GradientAccumulator {
 public:
  /// Borrows all. `share`: which of a batch's samples are this rank's. `tensor_parallel` as in
  /// Task::objective(). Throws Error with the memory table when the activations do not fit.
  GradientAccumulator(Ops& ops, const Config& config, const ModelWeights& weights, const Task& task,
                      SampleRange share, Communicator* tensor_parallel = nullptr);

  /// The share of samples [first_sample, first_sample + train.batch_size) of step `step`, both from
  /// 0. Overwrites `gradients`, and leaves them reduced over the ranks of `data_parallel` where it
  /// is given, from begin() to finish(). The losses go into `readback` where it is given, and the
  /// host does not wait for them, unless the source has computed the loss (BatchSource::weigh).
  BatchResult run(std::int64_t step, std::int64_t first_sample, ModelTensors& gradients,
                  const BatchObserver& observer = {}, DataParallel* data_parallel = nullptr,
                  const FirstGradientsObserver& first_gradients = {},
                  StepReadback* readback = nullptr);
  ObjectiveRunner& objective() { return objective_; }

 private:
  const Config& config_;
  BatchSource& source_;
  const SampleRange share_;
  ObjectiveRunner objective_;
};

}  // namespace lacuna
